import type { ResourceSource } from '../model/resource.ts';

/** No objects at all: pods have the labels that the runtime gives them, and no policies. */
export const silentSource: ResourceSource = {
  start(onEvent) {
    onEvent({ type: 'synced' });
    return Promise.resolve();
  },
  report: () => undefined,
  stop: () => Promise.resolve(),
};
