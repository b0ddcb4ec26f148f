/** Who may send where: the two policies that take turns, and the flows that tell which of them decided. */
import type { WeirNode } from '../../harness/node.ts';
import { Pod } from '../../harness/pod.ts';

/** A policy in force; the test goes from one to the other and back. */
export type Side = 'a' | 'b';

/** Packets of one socket of a pod to one of the server's. */
export interface Flow {
  readonly pod: string;
  readonly port: number;
  /** Under the server's policy (ingress), or the pod's own (egress). */
  readonly allowed: readonly Side[];
}

/** On this port the sender decides what the server admits; on the others the `talker` may not send everywhere. */
const INGRESS_PORT = 9000;

export const SENDERS = ['first', 'second', 'nobody', 'anytime', 'talker'] as const;

/** The flows that both policies allow come last: they are what a round of packets ends with. */
export const FLOWS: readonly Flow[] = [
  { pod: 'first', port: INGRESS_PORT, allowed: ['a'] },
  { pod: 'second', port: INGRESS_PORT, allowed: ['b'] },
  { pod: 'nobody', port: INGRESS_PORT, allowed: [] },
  { pod: 'talker', port: 9001, allowed: ['a'] },
  { pod: 'talker', port: 9002, allowed: ['b'] },
  { pod: 'talker', port: 9003, allowed: [] },
  { pod: 'talker', port: 9004, allowed: ['a', 'b'] },
  { pod: 'anytime', port: INGRESS_PORT, allowed: ['a', 'b'] },
];

/** The ingress policy of the server and the egress policy of the talker, both of one side. */
export function policies(side: Side): string {
  const senders = ['anytime', 'talker', side === 'a' ? 'first' : 'second'];
  const ports = [9004, side === 'a' ? 9001 : 9002];
  return `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress:
    - fromEndpoints: [${senders.map((app) => `{ matchLabels: { app: ${app} } }`).join(', ')}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: talker, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: talker } }
  egress:
    - toEndpoints: [{ matchLabels: { app: server } }]
      toPorts: [{ ports: [${ports.map((port) => `{ port: "${port}", protocol: UDP }`).join(', ')}] }]
`;
}

/** The pods whose policies change. */
export const SUBJECTS = ['server', 'talker'] as const;

export type Pods = ReadonlyMap<string, Pod>;

/** The pods of the scene; the stack ends them. */
export async function createPods(node: WeirNode, stack: AsyncDisposableStack): Promise<Pods> {
  const pods = new Map<string, Pod>();
  for (const name of ['server', ...SENDERS]) pods.set(name, stack.use(await Pod.create(node, name)));
  return pods;
}
