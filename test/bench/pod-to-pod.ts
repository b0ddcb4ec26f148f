/**
 * Pod to pod on one node, against two namespaces joined by plain veth pairs and routing, in interleaved rounds: TCP
 * stream (iperf3), request/response over TCP and UDP (sockperf ping-pong). Weir enforces a policy on both pods.
 */
import { Netns, connect } from '../harness/netns.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { compare, POLICY, type Path } from './path.ts';
import type { Bench } from './suite.ts';

const ROUNDS = 15;

export const bench: Bench = {
  name: 'pod-to-pod',
  title: 'one node, policy enforced, against plain veth + routing',
  async run(print) {
    await using stack = new AsyncDisposableStack();
    await compare([[plainPath(stack), await weirPath(stack)]], ROUNDS, print);
  },
};

function plainPath(stack: AsyncDisposableStack): Path {
  const [router, client, server] = [new Netns('router'), new Netns('plain-client'), new Netns('plain-server')];
  for (const ns of [router, client, server]) stack.use(ns);
  connect(
    { ns: router, name: 'c', addresses: ['10.200.1.1/24'] },
    { ns: client, name: 'eth0', addresses: ['10.200.1.2/24'] },
  );
  connect(
    { ns: router, name: 's', addresses: ['10.200.2.1/24'] },
    { ns: server, name: 'eth0', addresses: ['10.200.2.2/24'] },
  );
  client.ip('route add default via 10.200.1.1');
  server.ip('route add default via 10.200.2.1');
  router.sysctl({ 'ipv4/ip_forward': 1 });
  return { name: 'plain', client, server, address: '10.200.2.2' };
}

async function weirPath(stack: AsyncDisposableStack): Promise<Path> {
  const node = stack.use(new WeirNode({ name: 'bench' }));
  for (const name of ['client', 'server']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('policy.yaml', POLICY);
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  return { name: 'weir', client: client.ns, server: server.ns, address: server.ipv4 };
}
