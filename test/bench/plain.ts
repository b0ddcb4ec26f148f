/** What Weir is measured against: namespaces joined by what the kernel has anyway. */
import { run } from '../harness/exec.ts';
import { connect, Netns } from '../harness/netns.ts';
import type { Path } from './path.ts';

/** Two namespaces, each on a wire of its own to a third that routes. */
export function routedPath(stack: AsyncDisposableStack, name: string): Path {
  const [router, client, server] = ['router', 'client', 'server'].map((who) => namespace(stack, `${name}-${who}`)) as [
    Netns,
    Netns,
    Netns,
  ];
  for (const [end, number] of [
    [client, 1],
    [server, 2],
  ] as const) {
    wire(router, end, `port${number}`, `10.200.${number}`);
    end.ip(`route add default via 10.200.${number}.1`);
  }
  router.sysctl({ 'ipv4/ip_forward': 1 });
  return { name, client, server, address: '10.200.2.2' };
}

/** Two namespaces on one bridge, whose packets pass 200 rules that match none of them. */
export function bridgedPath(stack: AsyncDisposableStack, name: string): Path {
  const [bridge, client, server] = ['bridge', 'client', 'server'].map((who) => namespace(stack, `${name}-${who}`)) as [
    Netns,
    Netns,
    Netns,
  ];
  bridge.ip('link add br0 type bridge');
  bridge.ip('link set br0 up');
  for (const [end, number] of [
    [client, 1],
    [server, 2],
  ] as const) {
    connect(
      { ns: bridge, name: `port${number}`, addresses: [] },
      { ns: end, name: 'eth0', addresses: [`10.200.1.${number}/24`] },
    );
    bridge.ip(`link set port${number} master br0`);
  }
  filter(bridge, 'bridge');
  return { name, client, server, address: '10.200.1.2' };
}

/** Between the nodes: as Weir's own, a veth pair each to a bridge. */
export interface Between {
  readonly name: string;
  /** Inside VXLAN, by the kernel's own device. */
  readonly vxlan?: boolean;
  /** Packets pass 200 rules on each node. */
  readonly rules?: boolean;
}

/** A client and a server, each behind a router of its own. */
export function nodesPath(stack: AsyncDisposableStack, { name, vxlan = false, rules = false }: Between): Path {
  const fabric = namespace(stack, `${name}-fabric`);
  fabric.ip('link add br0 type bridge');
  fabric.ip('link set br0 up');
  const side = (which: 1 | 2): Netns => {
    const other = which === 1 ? 2 : 1;
    const router = namespace(stack, `${name}-router${which}`);
    const end = namespace(stack, `${name}-end${which}`);
    connect(
      { ns: router, name: 'eth0', addresses: [`192.0.2.${which}/24`] },
      { ns: fabric, name: `port${which}`, addresses: [] },
    );
    fabric.ip(`link set port${which} master br0`);
    wire(router, end, 'pod', `10.201.${which}`);
    end.ip(`route add default via 10.201.${which}.1`);
    router.sysctl({ 'ipv4/ip_forward': 1 });
    if (vxlan) {
      router.ip(`link add vx0 type vxlan id 7 remote 192.0.2.${other} dstport 8472 dev eth0`);
      router.ip(`addr add 10.210.0.${which}/24 dev vx0`);
      router.ip('link set vx0 up');
      end.ip('link set eth0 mtu 1450');
    }
    router.ip(`route add 10.201.${other}.0/24 via ${vxlan ? '10.210.0' : '192.0.2'}.${other}`);
    if (rules) filter(router, 'inet');
    return end;
  };
  return { name, client: side(1), server: side(2), address: '10.201.2.2' };
}

const namespace = (stack: AsyncDisposableStack, what: string): Netns => stack.use(new Netns(what));

/** A veth pair: `.1` of the subnet here, `.2` at the far end's eth0. */
function wire(here: Netns, end: Netns, name: string, subnet: string): void {
  connect({ ns: here, name, addresses: [`${subnet}.1/24`] }, { ns: end, name: 'eth0', addresses: [`${subnet}.2/24`] });
}

const RULES = 200;

/** A chain like those that policies by iptables make: rules about other people's addresses, one after another. */
function filter(ns: Netns, family: 'bridge' | 'inet'): void {
  const rules = Array.from({ length: RULES }, (_, i) => `ip saddr 10.99.0.${i} tcp dport ${8000 + i} drop`);
  const table = `table ${family} bench {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ${rules.join('\n    ')}
  }
}
`;
  run([...ns.enter, 'nft', '-f', '-'], { input: table });
}
