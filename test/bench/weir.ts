/** Pods of Weir as ends of paths: some that no policy selects, and some with as many policy entries as fit. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { BpfMap } from '../../agent/kernel/bpf-map.ts';
import type { WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { waitFor } from '../harness/wait.ts';
import type { Path } from './path.ts';

/** Policy entries of a pod that has many; the map holds 16,384. */
export const MANY = 16_000;
const PORTS_EACH = 40;

/** Pods by the policy that selects them: those named `client…` may speak to those named `server…`, and nobody else. */
const KINDS = ['none', 'many'] as const;
export type Kind = (typeof KINDS)[number];

const podName = (role: 'client' | 'server', kind: Kind): string => `${role}-${kind}`;

/** Manifests of all pods, by file. */
export const POD_MANIFESTS: ReadonlyMap<string, string> = new Map(
  KINDS.flatMap((entries) =>
    (['client', 'server'] as const).map((role): [string, string] => {
      const name = podName(role, entries);
      return [`${name}.yaml`, podManifest(name, { role, entries })];
    }),
  ),
);

/** Half of the entries for each direction: ports, each by itself, of prefixes, each with an identity of its own. */
function manyEntries(): string {
  const prefixes = Array.from({ length: MANY / 2 / PORTS_EACH }, (_, i) => `198.18.${i}.0/24`);
  // With gaps: what is in a row becomes a range, which takes fewer entries.
  const ports = Array.from({ length: PORTS_EACH }, (_, i) => ({ port: String(2000 + 2 * i), protocol: 'TCP' }));
  const peers = (role: string) => [{ matchLabels: { role } }];
  return JSON.stringify({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'many', namespace: 'default' },
    spec: {
      endpointSelector: { matchLabels: { entries: 'many' } },
      ingress: [{ fromEndpoints: peers('client') }, { fromCIDR: prefixes, toPorts: [{ ports }] }],
      egress: [{ toEndpoints: peers('server') }, { toCIDR: prefixes, toPorts: [{ ports }] }],
    },
  });
}

/** Adds a client and a server, on the same node or on two. */
export async function addPods(
  stack: AsyncDisposableStack,
  [first, second]: readonly [client: WeirNode, server: WeirNode],
  entries: Kind,
  name: string,
): Promise<Path> {
  const server = stack.use(await Pod.create(second, podName('server', entries)));
  const client = stack.use(await Pod.create(first, podName('client', entries)));
  return { name, client: client.ns, server: server.ns, address: server.ipv4 };
}

/** Gives the pods of kind `many` their policy, and resolves when it is in their maps; says how long that took. */
export async function enforceMany(
  nodes: readonly WeirNode[],
  publish: (file: string, text: string) => void,
): Promise<number> {
  const pods = 2;
  const policy = manyEntries();
  const started = performance.now();
  publish('many.json', policy);
  await waitFor(
    `${MANY} entries in the maps of ${pods} pods`,
    async () => {
      const sizes = await Promise.all(nodes.flatMap(({ bpfRoot }) => policyMaps(bpfRoot).map(countEntries)));
      return sizes.filter((size) => size >= MANY).length === pods;
    },
    60_000,
  );
  return performance.now() - started;
}

function policyMaps(bpfRoot: string): string[] {
  return readdirSync(bpfRoot, { recursive: true, encoding: 'utf8' })
    .filter((name) => path.basename(name).startsWith('weir_policy_'))
    .map((name) => path.join(bpfRoot, name));
}

async function countEntries(pin: string): Promise<number> {
  using map = BpfMap.openPinned(pin);
  let entries = 0;
  if (map !== undefined) for await (const { count } of map.chunks()) entries += count;
  return entries;
}
