/** What a new object's status is, whatever its maker wrote there. */
import type { KubeObject } from '../object.ts';

/** Kinds whose makers may write the status at once: a kubelet registers its node with it. */
const OWN_STATUS: ReadonlySet<string> = new Set(['/Node']);

const INITIAL: Readonly<Record<string, unknown>> = {
  '/Pod': { phase: 'Pending', qosClass: 'BestEffort' },
  '/Service': { loadBalancer: {} },
  '/Namespace': { phase: 'Active' },
};

/** Replaces the status of a new object, in place. */
export function resetStatus(group: string, object: KubeObject): void {
  const id = `${group}/${object.kind}`;
  if (OWN_STATUS.has(id)) return;
  const initial = INITIAL[id];
  if (initial === undefined) delete object['status'];
  else object['status'] = structuredClone(initial);
}
