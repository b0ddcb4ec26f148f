/**
 * Pod to pod across two nodes, routed and tunnelled, against namespaces behind two routers that route plainly or through a
 * VXLAN device of the kernel, in interleaved rounds. Weir enforces a policy on both pods.
 */
import { Cluster, type Member } from '../harness/cluster.ts';
import { Netns, connect } from '../harness/netns.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { compare, POLICY, type Path } from './path.ts';
import type { Bench } from './suite.ts';

const ROUNDS = 7;

export const bench: Bench = {
  name: 'across-nodes',
  title: 'two nodes, policy enforced, against plain routing and plain VXLAN',
  async run(print) {
    await using stack = new AsyncDisposableStack();
    const routed = plainPath(stack, 'routing', 1, false);
    const tunnelled = plainPath(stack, 'vxlan', 2, true);
    const native = await weirPath(stack, 'native', ['--auto-direct-node-routes']);
    const tunnel = await weirPath(stack, 'tunnel', []);
    await compare(
      [
        [routed, native],
        [tunnelled, tunnel],
      ],
      ROUNDS,
      print,
    );
  },
};

/** A client and a server, each behind a router of its own, the routers joined by a bridge as nodes are. */
function plainPath(stack: AsyncDisposableStack, name: string, number: number, vxlan: boolean): Path {
  const fabric = stack.use(new Netns(`${name}-fabric`));
  fabric.ip('link add br0 type bridge');
  fabric.ip('link set br0 up');
  const side = (which: 1 | 2): Netns => {
    const other = which === 1 ? 2 : 1;
    const router = stack.use(new Netns(`${name}-router${which}`));
    const end = stack.use(new Netns(`${name}-end${which}`));
    connect(
      { ns: router, name: 'eth0', addresses: [`192.0.2.${which}/24`] },
      { ns: fabric, name: `port${which}`, addresses: [] },
    );
    fabric.ip(`link set port${which} master br0`);
    const subnet = `10.20${number}`;
    connect(
      { ns: router, name: 'pod', addresses: [`${subnet}.${which}.1/24`] },
      { ns: end, name: 'eth0', addresses: [`${subnet}.${which}.2/24`] },
    );
    end.ip(`route add default via ${subnet}.${which}.1`);
    router.sysctl({ 'ipv4/ip_forward': 1 });
    if (vxlan) {
      router.ip(`link add vx0 type vxlan id 7 remote 192.0.2.${other} dstport 8472 dev eth0`);
      router.ip(`addr add 10.210.0.${which}/24 dev vx0`);
      router.ip('link set vx0 up');
      end.ip('link set eth0 mtu 1450');
    }
    router.ip(`route add ${subnet}.${other}.0/24 via ${vxlan ? '10.210.0' : '192.0.2'}.${other}`);
    return end;
  };
  return { name, client: side(1), server: side(2), address: `10.20${number}.2.2` };
}

async function weirPath(
  stack: AsyncDisposableStack,
  mode: 'native' | 'tunnel',
  flags: readonly string[],
): Promise<Path> {
  const cluster = stack.use(await Cluster.start({ nodes: 2, flags: ['--routing-mode', mode, ...flags] }));
  const [one, two] = cluster.members as [Member, Member];
  for (const pod of ['client', 'server']) cluster.manifest(`${pod}.yaml`, podManifest(pod, { app: pod }));
  cluster.manifest('policy.yaml', POLICY);
  const client = stack.use(await Pod.create(one.node, 'client'));
  const server = stack.use(await Pod.create(two.node, 'server'));
  await cluster.publish();
  return { name: mode, client: client.ns, server: server.ns, address: server.ipv4 };
}
