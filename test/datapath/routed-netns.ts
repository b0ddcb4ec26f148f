/** A namespace with a way to the network, for programs that ask the routing table. */
import { Netns as KernelNetns } from '../../agent/kernel/netns.ts';
import { Netns } from '../harness/netns.ts';

/** Addresses of its device `ext0`, from which it sends. */
export const NODE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
/** Where no way leads. */
export const NOWHERE = { ipv4: '198.18.0.1', ipv6: '2001:db8:dead::1' } as const;

/** Everything routes by `ext0`, but for {@link NOWHERE}. Runs what it is given inside; programs find its sockets, too. */
export class RoutedNetns implements Disposable {
  readonly ns = new Netns('routed');
  readonly ext0: number;

  constructor() {
    const { ns } = this;
    ns.sysctl({ 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1, 'ipv6/conf/default/accept_dad': 0 });
    ns.ip('link add ext0 type veth peer name ext1');
    for (const device of ['ext0', 'ext1']) ns.ip(`link set ${device} up`);
    ns.ip(`addr add ${NODE.ipv4}/24 dev ext0`);
    ns.ip(`addr add ${NODE.ipv6}/64 dev ext0 nodad`);
    for (const gateway of ['192.0.2.254', '2001:db8::fe']) ns.ip(`route add default via ${gateway} dev ext0`);
    for (const address of Object.values(NOWHERE)) ns.ip(`route add unreachable ${address}`);
    this.ext0 = Number(/^(\d+):/.exec(ns.ip('-o link show ext0'))![1]);
  }

  run<T>(what: () => T): T {
    using inside = KernelNetns.open(this.ns.path);
    return inside.run(what);
  }

  [Symbol.dispose](): void {
    this.ns[Symbol.dispose]();
  }
}
