import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** What the agent needs to know of a Namespace. */
export interface Namespace {
  readonly name: string;
  /** With `kubernetes.io/metadata.name`, which the API server sets whatever the author wrote. */
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
}

/** The label that every namespace has without asking. */
export const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeNamespace(resource: Resource): Namespace {
  const metadata = Fields.of(resource, 'Namespace').object('metadata');
  return {
    name: resource.name,
    labels: namespaceLabels(resource.name, metadata.stringMap('labels')),
    annotations: metadata.stringMap('annotations'),
  };
}

/** The labels of a namespace of which no more than `own` is known; it need not exist as an object. */
export function namespaceLabels(
  name: string,
  own: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  return new Map([...own, [NAMESPACE_NAME_LABEL, name]]);
}
