/** A test node on real veth pairs, in namespaces of its own: a node, the world beside it, and pods. No agent. */
import { TcxLink, type TcxHook } from '../../agent/kernel/tcx.ts';
import { Netns as KernelNetns } from '../../agent/kernel/netns.ts';
import type { BpfLxcConfig } from '../../bpf/gen/config.ts';
import { connect, Netns } from '../harness/netns.ts';
import { endpointMacs, TestNode, type EndpointPrograms, type TestRule } from './node.ts';

export const GATEWAY = { ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
export const WORLD = { ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;
export const HOST_IDENTITY = 1;
export const WORLD_IDENTITY = { ipv4: 9, ipv6: 10 } as const;
export type Family = 'ipv4' | 'ipv6';

export interface WiredPod {
  readonly id: number;
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly ns: Netns;
  readonly programs: EndpointPrograms;
}

export class WiredNode implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly node: TestNode;
  readonly host: Netns;
  readonly world: Netns;

  private constructor(node: TestNode) {
    this.node = this.#stack.use(node);
    this.host = this.#stack.use(new Netns('node'));
    this.world = this.#stack.use(new Netns('world'));
  }

  static async start(): Promise<WiredNode> {
    const wired = new WiredNode(await TestNode.start());
    try {
      wired.#wire();
      return wired;
    } catch (error) {
      await wired[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A pod as the agent makes one: a veth pair, a gateway of its own, programs on the host's end, a host route. */
  addPod(endpoint: Omit<WiredPod, 'ns' | 'programs'>, config: Partial<BpfLxcConfig> = {}): WiredPod {
    const { host, node } = this;
    const ns = this.#stack.use(new Netns(`pod${endpoint.id}`));
    const macs = endpointMacs(endpoint.id);
    const device = `wr${endpoint.id}`;
    ns.sysctl({ 'ipv6/conf/default/accept_dad': 0 });
    host.ip(`link add ${device} address ${macs.host} type veth peer name eth0 address ${macs.pod} netns ${ns.name}`);
    host.ip(`link set ${device} up`);
    ns.ip('link set eth0 up');
    for (const [address, gateway] of [
      [`${endpoint.ipv4}/32`, GATEWAY.ipv4],
      [`${endpoint.ipv6}/128`, GATEWAY.ipv6],
    ] as const) {
      ns.ip(`addr add ${address} dev eth0`);
      ns.ip(`route add ${gateway} dev eth0 scope link`);
      ns.ip(`${address.includes(':') ? '-6 ' : ''}route add default via ${gateway}`);
      host.ip(`route add ${address} dev ${device} src ${gateway}`);
    }
    const endpointIfindex = this.ifindexOf(device);
    const programs = node.endpoint({ ...endpoint, config: { endpointIfindex, ...config } });
    this.attach(programs.object.program('from_container').fd, endpointIfindex, 'ingress');
    this.attach(programs.object.program('to_container').fd, endpointIfindex, 'egress');
    return { ...endpoint, ns, programs };
  }

  ifindexOf(device: string): number {
    return Number(/^(\d+):/.exec(this.host.ip(`-o link show ${device}`))![1]);
  }

  attach(programFd: number, ifindex: number, hook: TcxHook): TcxLink {
    using ns = KernelNetns.open(this.host.path);
    return this.#stack.use(ns.run(() => TcxLink.createSync(programFd, ifindex, hook)));
  }

  change(pod: WiredPod, what: 'allow' | 'revoke', ...rules: TestRule[]): void {
    pod.programs[what](...rules);
    this.node.raiseRevision(pod.id);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  #wire(): void {
    const { host, world, node } = this;
    host.sysctl({ 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1, 'ipv6/conf/default/accept_dad': 0 });
    host.ip('link add router type veth peer name router_peer');
    host.ip('link set router_peer up');
    for (const address of [`${GATEWAY.ipv4}/32`, `${GATEWAY.ipv6}/128`]) host.ip(`addr add ${address} dev router`);
    host.ip('link set router up');
    for (const address of Object.values(GATEWAY)) {
      node.local(address, { id: 0, identity: HOST_IDENTITY });
      node.ipcache(address, HOST_IDENTITY);
    }
    connect(
      { ns: world, name: 'eth0', addresses: [`${WORLD.ipv4}/24`, `${WORLD.ipv6}/64`] },
      { ns: host, name: 'ext0', addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
    );
    world.ip('route add 10.0.0.0/24 via 192.0.2.1');
    world.ip('-6 route add fd00::/64 via 2001:db8::1');
  }
}
