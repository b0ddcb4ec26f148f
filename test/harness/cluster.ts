/** Several nodes with agents of their own on one network, and a small publisher that plays the API server between them. */
import { ApiClient } from '../../agent/api/client.ts';
import type { Endpoint } from '../../agent/api/models.ts';
import { HOST_ENDPOINT_ID } from '../../agent/model/endpoint.ts';
import { Netns } from './netns.ts';
import { WeirNode, WORLD_ADDRESSES } from './node.ts';
import { waitFor } from './wait.ts';

export interface ClusterOptions {
  readonly nodes?: number;
  /** More flags for every agent. */
  readonly flags?: readonly string[];
  /** False: agents learn objects, and the addresses of their pods, from elsewhere, as the flags say. */
  readonly manifests?: boolean;
  /** Of the network, in bytes. */
  readonly mtu?: number;
  /** Translate services of the sockets of a cgroup of each node's own, to which its pods belong. */
  readonly socketLb?: boolean;
}

/** A node of a cluster, and where it is. */
export interface Member {
  readonly node: WeirNode;
  readonly api: ApiClient;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly podCidrs: readonly [ipv4: string, ipv6: string];
  /** The host's addresses towards pods. */
  readonly routers: readonly [ipv4: string, ipv6: string];
}

/** Numbers that the publisher gives to label sets: none that an agent would choose for itself. */
const FIRST_IDENTITY = 40_000;

export class Cluster implements AsyncDisposable {
  readonly world: Netns;
  readonly members: readonly Member[];
  readonly #fabric: Netns;
  readonly #numbers = new Map<string, number>();

  private constructor(options: ClusterOptions) {
    const count = options.nodes ?? 3;
    this.#fabric = new Netns('fabric');
    this.#fabric.ip('link add br0 type bridge');
    this.#fabric.ip('link set br0 up');
    this.world = new Netns('world');
    const mtu = options.mtu ?? 1500;
    this.#plug(this.world, 100, mtu);
    this.members = Array.from({ length: count }, (_, i) => this.#member(i + 1, mtu, options));
    for (const { podCidrs, ipv4, ipv6 } of this.members) {
      this.world.ip(`route add ${podCidrs[0]} via ${ipv4}`);
      this.world.ip(`route add ${podCidrs[1]} via ${ipv6}`);
    }
  }

  /** Makes the nodes and starts their agents; none knows of another before {@link publish}. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      await Promise.all(cluster.members.map(({ node }) => node.startAgent()));
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Makes the nodes; their agents are to be started by the caller. */
  static prepare(options: ClusterOptions): Cluster {
    return new Cluster(options);
  }

  /** Writes a manifest for every node; empty text removes it. */
  manifest(file: string, text: string): void {
    for (const { node } of this.members) node.manifest(file, text);
  }

  /**
   * Tells every node of all nodes, identities and endpoints, as agents and operator do through an API server; resolves when
   * all have taken it in.
   */
  async publish(): Promise<void> {
    const identities = await this.#publishIdentities();
    const endpoints = await this.#endpoints();
    const nodes = this.members.map((member) => nodeObject(member));
    this.manifest('cluster.json', list([...identities, ...nodes, ...endpoints.map(({ object }) => object)]));
    await waitFor('all nodes to know all endpoints', async () => {
      const known = await Promise.all(this.members.map(async ({ api }) => await api.ips()));
      return known.every((entries) => {
        const answers = new Map(entries.map(({ cidr, identity }) => [cidr, identity]));
        return (
          endpoints.every(({ ip, identity }) => answers.get(ip) === identity) &&
          // Nobody is at an address any more that no endpoint has.
          entries.filter(({ identity }) => identity >= FIRST_IDENTITY && identity < 65_536).length === endpoints.length
        );
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map(({ node }) => node[Symbol.asyncDispose]()));
    this.world[Symbol.dispose]();
    this.#fabric[Symbol.dispose]();
  }

  /** One number for each label set, and every endpoint under it. */
  async #publishIdentities(): Promise<object[]> {
    const numberOf = (labels: readonly string[]): number => {
      const key = [...labels].sort().join();
      const number = this.#numbers.get(key) ?? FIRST_IDENTITY + this.#numbers.size;
      this.#numbers.set(key, number);
      return number;
    };
    const all = (await Promise.all(this.members.map(podEndpoints))).flat();
    for (const { status } of all) numberOf(status?.identity?.labels ?? []);
    const objects = [...this.#numbers].map(([key, number]) => identityObject(number, key.split(',')));
    this.manifest('identities.json', list(objects));
    await waitFor('every endpoint to have the number of the cluster', async () => {
      const now = (await Promise.all(this.members.map(podEndpoints))).flat();
      return now.every(({ status }) => status?.identity?.id === numberOf(status?.identity?.labels ?? []));
    });
    this.manifest('identities.json', '');
    return objects;
  }

  async #endpoints(): Promise<{ object: object; ip: string; identity: number }[]> {
    const all = await Promise.all(
      this.members.map(async (member) =>
        (await podEndpoints(member)).flatMap(({ status }) => {
          const names = status?.['external-identifiers'];
          const [addressing] = status?.networking?.addressing ?? [];
          const identity = status?.identity;
          const object = {
            apiVersion: 'cilium.io/v2',
            kind: 'CiliumEndpoint',
            metadata: { name: names?.['k8s-pod-name'], namespace: names?.['k8s-namespace'] },
            status: { identity, networking: { addressing: [addressing], node: member.ipv4 } },
          };
          return [`${addressing?.ipv4}/32`, `${addressing?.ipv6}/128`].map((ip) => ({
            object,
            ip,
            identity: identity?.id ?? 0,
          }));
        }),
      ),
    );
    return all.flat();
  }

  /** Gives a namespace its `eth0` on the network, with host number `host`. */
  #plug(ns: Netns, host: number, mtu: number): { ipv4: string; ipv6: string } {
    const [ipv4, ipv6] = [`192.0.2.${host}`, `2001:db8:0:1::${host}`];
    const port = `port${host}`;
    ns.ip(`link add eth0 mtu ${mtu} type veth peer name ${port} mtu ${mtu} netns ${this.#fabric.name}`);
    ns.ip(`addr add ${ipv4}/24 dev eth0`);
    ns.ip(`addr add ${ipv6}/64 dev eth0 nodad`);
    ns.ip('link set eth0 up');
    this.#fabric.ip(`link set ${port} master br0`);
    this.#fabric.ip(`link set ${port} up`);
    return { ipv4, ipv6 };
  }

  #member(number: number, mtu: number, { flags = [], manifests = true, socketLb = false }: ClusterOptions): Member {
    const podCidrs = [`10.244.${number}.0/24`, `fd00:10:244:${number}::/64`] as const;
    let place = { ipv4: '', ipv6: '' };
    const node = new WeirNode({
      ...{ name: `node${number}`, podCidrs: manifests ? podCidrs : [], flags, manifests, socketLb },
      network: { world: this.world, join: (ns) => (place = this.#plug(ns, number, mtu)) },
    });
    node.ns.ip(`route add default via ${WORLD_ADDRESSES.v4}`);
    node.ns.ip(`route add default via ${WORLD_ADDRESSES.v6}`);
    const routers = [`10.244.${number}.1`, `fd00:10:244:${number}::1`] as const;
    return { node, api: new ApiClient(node.socket), ...place, podCidrs, routers };
  }
}

/** Endpoints that are pods: the node itself may be one, too. */
async function podEndpoints({ api }: Member): Promise<readonly Endpoint[]> {
  return (await api.endpoints()).filter(({ id }) => id !== HOST_ENDPOINT_ID);
}

function nodeObject({ node, ipv4, ipv6, podCidrs, routers }: Member): object {
  const internal = [ipv4, ipv6].map((ip) => ({ type: 'InternalIP', ip }));
  const router = routers.map((ip) => ({ type: 'CiliumInternalIP', ip }));
  return {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name: node.name } },
    spec: { addresses: [...internal, ...router], ipam: { podCIDRs: podCidrs } },
  };
}

function identityObject(number: number, labels: readonly string[]): object {
  const pairs = labels.map((text): [string, string] => {
    const eq = text.indexOf('=');
    return eq < 0 ? [text, ''] : [text.slice(0, eq), text.slice(eq + 1)];
  });
  return {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata: { name: String(number) } },
    'security-labels': Object.fromEntries(pairs),
  };
}

function list(items: readonly object[]): string {
  const unique = new Map(items.map((item) => [JSON.stringify(item), item]));
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...unique.values()] });
}
