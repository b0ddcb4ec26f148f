/** Who there is in the matrix: where packets come from and where they go. */
import { Actor } from '../../harness/actor.ts';
import type { Cluster, Member } from '../../harness/cluster.ts';
import { Pod, podManifest } from '../../harness/pod.ts';
import { WORLD_ADDRESSES } from '../../harness/node.ts';
import { MATRIX_LABEL } from './policies.ts';

export const PORT = 8080;
const SERVICE_PORT = 80;

export type Family = 4 | 6;
export type Protocol = 'tcp' | 'udp' | 'icmp';

/** Somebody who sends and answers. */
export interface Place {
  readonly name: string;
  readonly kind: 'pod' | 'host' | 'world';
  /** Of the node that it is on; undefined for the world. */
  readonly node: string | undefined;
  readonly actor: Actor;
  readonly address: (family: Family) => string;
  /** Every address that its packets may come from. */
  readonly sources: readonly string[];
}

/** Something that can be reached, and who answers there. */
export interface Target {
  readonly name: string;
  readonly place: Place;
  readonly address: (family: Family) => string;
  readonly port: number;
  readonly protocols: readonly Protocol[];
  /** Who may try: a cluster address means something only to pods, and to sockets whose cgroup is the node's. */
  readonly reachableBy: (source: Place) => boolean;
}

export interface Pair {
  readonly name: string;
  readonly source: Place;
  readonly target: Target;
}

/** Everybody, made once for all policies. */
export interface Scene {
  readonly places: readonly Place[];
  readonly pairs: readonly Pair[];
}

const VIPS: Readonly<Record<'near' | 'far', readonly [string, string]>> = {
  near: ['10.96.0.10', 'fd00:96::10'],
  far: ['10.96.0.20', 'fd00:96::20'],
};

/**
 * Pods `pod` and `pod beside` on the first node, `remote pod` on the second, `third pod` on the third; the first and the
 * second node's host; the world. The service `near` leads to the pod beside, `far` to the third node's.
 */
export async function setScene(cluster: Cluster, stack: AsyncDisposableStack): Promise<Scene> {
  const [one, two, three] = cluster.members as readonly [Member, Member, Member];
  const pods = { pod: one, beside: one, remote: two, third: three } as const;
  for (const name of Object.keys(pods)) cluster.manifest(`${name}.yaml`, podManifest(name, { ...MATRIX_LABEL, name }));
  const pod = async (name: keyof typeof pods, title: string): Promise<Place> => {
    const made = stack.use(await Pod.create(pods[name].node, name));
    await made.actor.do({ op: 'serve', port: PORT });
    return place(title, 'pod', pods[name].node.name, made.actor, [made.ipv4, made.ipv6]);
  };
  const host = async (title: string, { node, ipv4, ipv6, routers }: Member): Promise<Place> => {
    const actor = stack.use(await Actor.start(node.ns));
    await actor.do({ op: 'serve', port: PORT, addresses: [ipv4, ipv6] });
    return place(title, 'host', node.name, actor, [ipv4, ipv6, ...routers]);
  };
  const a = await pod('pod', 'pod');
  const beside = await pod('beside', 'pod beside');
  const remote = await pod('remote', 'remote pod');
  const third = await pod('third', 'third pod');
  const near = await host('host', one);
  const far = await host('remote host', two);
  const worldActor = stack.use(await Actor.start(cluster.world));
  await worldActor.do({ op: 'serve', port: PORT, addresses: Object.values(WORLD_ADDRESSES) });
  const world = place('world', 'world', undefined, worldActor, Object.values(WORLD_ADDRESSES));
  for (const [name, backend] of [
    ['near', beside],
    ['far', third],
  ] as const) {
    cluster.manifest(`service-${name}.json`, serviceManifest(name, backend));
  }
  const targets = [
    ...[beside, remote, third, near, far, world].map((each) => direct(each)),
    service('service', VIPS.near, beside),
    service('remote service', VIPS.far, third),
  ];
  const sources = [a, remote, near, far, world];
  return {
    places: [a, beside, remote, third, near, far, world],
    pairs: sources.flatMap((each) => pairsOf(each, targets)),
  };
}

function pairsOf(source: Place, targets: readonly Target[]): Pair[] {
  return targets
    .filter((target) => target.place !== source && target.reachableBy(source))
    .map((target) => ({ name: `${source.name} → ${target.name}`, source, target }));
}

function place(
  name: string,
  kind: Place['kind'],
  node: string | undefined,
  actor: Actor,
  sources: readonly string[],
): Place {
  return { name, kind, node, actor, sources, address: (family) => sources[family === 4 ? 0 : 1]! };
}

function direct(to: Place): Target {
  const { name, address } = to;
  return { name, place: to, address, port: PORT, protocols: ['tcp', 'udp', 'icmp'], reachableBy: () => true };
}

/** A service answers no ICMP. */
function service(name: string, vip: readonly [string, string], backend: Place): Target {
  return {
    ...{ name, place: backend, port: SERVICE_PORT, protocols: ['tcp', 'udp'] as const },
    address: (family) => vip[family === 4 ? 0 : 1],
    reachableBy: ({ kind }) => kind === 'pod',
  };
}

function serviceManifest(name: keyof typeof VIPS, backend: Place): string {
  const slice = (family: Family): object => ({
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: `IPv${family}` },
    metadata: { name: `${name}-${family}`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: PORT })),
    endpoints: [{ addresses: [backend.address(family)], conditions: { ready: true } }],
  });
  const own = {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
    spec: {
      ...{ clusterIPs: VIPS[name], ipFamilyPolicy: 'PreferDualStack', selector: { name } },
      ports: ['TCP', 'UDP'].map((protocol) => ({
        ...{ name: protocol.toLowerCase(), protocol, port: SERVICE_PORT, targetPort: PORT },
      })),
    },
  };
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [own, slice(4), slice(6)] });
}
