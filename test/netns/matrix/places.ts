/** Who there is in the matrix: where packets come from and where they go. */
import { Actor } from '../../harness/actor.ts';
import type { Cluster, Member } from '../../harness/cluster.ts';
import { Pod, podManifest } from '../../harness/pod.ts';
import { WORLD_ADDRESSES } from '../../harness/node.ts';
import { serveFrontends } from './frontends.ts';
import { MATRIX_LABEL } from './policies.ts';

export const PORT = 8080;

export type Family = 4 | 6;
export type Protocol = 'tcp' | 'udp' | 'icmp';

/** Somebody who sends and answers. */
export interface Place {
  readonly name: string;
  readonly kind: 'pod' | 'host' | 'world';
  /** It reaches services packet by packet, else by its sockets, and is of interest for them only. */
  readonly byPacket?: true;
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
  readonly reachableBy: (source: Place) => boolean;
  /** Why a source is refused whatever the policy, as drops name it. */
  readonly refusal?: (source: Place) => string | undefined;
  /** Addresses of the node whose port it is, under which it passes on what comes from outside and it has no backend for. */
  readonly asked?: readonly string[];
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

/**
 * Pods `pod` and `pod beside` on the first node, `remote pod` on the second, `third pod` on the third; the first and the
 * second node's host; the world. Sockets of pods and hosts belong to the cgroup of their node, but for those of a second
 * process of each of two pods. The service `near` leads to the pod beside, `far` to the third node's.
 */
export async function setScene(cluster: Cluster, stack: AsyncDisposableStack): Promise<Scene> {
  const [one, two, three] = cluster.members as readonly [Member, Member, Member];
  const pods = { pod: one, beside: one, remote: two, third: three } as const;
  for (const name of Object.keys(pods)) cluster.manifest(`${name}.yaml`, podManifest(name, { ...MATRIX_LABEL, name }));
  const byPacket: Place[] = [];
  const pod = async (name: keyof typeof pods, title: string): Promise<Place> => {
    const made = stack.use(await Pod.create(pods[name].node, name));
    await made.actor.do({ op: 'serve', port: PORT });
    const own = place(title, 'pod', pods[name].node.name, made.actor, [made.ipv4, made.ipv6]);
    if (name === 'pod' || name === 'remote') {
      byPacket.push({
        ...own,
        name: `${title} by packet`,
        byPacket: true,
        actor: stack.use(await Actor.start(made.ns)),
      });
    }
    return own;
  };
  const host = async (title: string, { node, ipv4, ipv6, routers }: Member): Promise<Place> => {
    const actor = stack.use(await Actor.start(node.ns, node.cgroup));
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
  const targets = [
    ...[beside, remote, third, near, far, world].map((each) => direct(each)),
    ...(await serveFrontends(cluster, beside, third)),
  ];
  const sources = [a, remote, near, far, world, ...byPacket];
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
  return {
    name,
    place: to,
    address,
    port: PORT,
    protocols: ['tcp', 'udp', 'icmp'],
    reachableBy: (source) => source.byPacket !== true,
  };
}
