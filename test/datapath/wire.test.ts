/** The same programs on real veth pairs: what test runs cannot show — deliveries, neighbours, and who is not the host. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Netns as KernelNetns } from '../../agent/kernel/netns.ts';
import { TcxLink, type TcxHook } from '../../agent/kernel/tcx.ts';
import { run, start, stop, tryRun } from '../harness/exec.ts';
import { connect, Netns } from '../harness/netns.ts';
import { waitFor } from '../harness/wait.ts';
import { endpointMacs, TestNode, type EndpointPrograms, type TestRule } from './node.ts';

const GATEWAY = { ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
const WORLD = { ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;
const HOST_IDENTITY = 1;
const WORLD_IDENTITY = { ipv4: 9, ipv6: 10 } as const;
type Family = 'ipv4' | 'ipv6';

interface Pod {
  readonly id: number;
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly ns: Netns;
  readonly programs: EndpointPrograms;
}

const stack = new AsyncDisposableStack();
let node: TestNode;
let host: Netns;
let world: Netns;
let a: Pod;
let b: Pod;

before(async () => {
  node = stack.use(await TestNode.start());
  host = stack.use(new Netns('node'));
  host.sysctl({ 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1, 'ipv6/conf/default/accept_dad': 0 });
  host.ip('link add router type veth peer name router_peer');
  host.ip('link set router_peer up');
  for (const address of [`${GATEWAY.ipv4}/32`, `${GATEWAY.ipv6}/128`]) host.ip(`addr add ${address} dev router`);
  host.ip('link set router up');
  for (const address of Object.values(GATEWAY)) {
    node.local(address, { id: 0, identity: HOST_IDENTITY });
    node.ipcache(address, HOST_IDENTITY);
  }
  world = stack.use(new Netns('world'));
  connect(
    { ns: world, name: 'eth0', addresses: [`${WORLD.ipv4}/24`, `${WORLD.ipv6}/64`] },
    { ns: host, name: 'ext0', addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
  );
  world.ip('route add 10.0.0.0/24 via 192.0.2.1');
  world.ip('-6 route add fd00::/64 via 2001:db8::1');
  a = addPod({ id: 51, identity: 1051, ipv4: '10.0.0.51', ipv6: 'fd00::51' });
  b = addPod({ id: 52, identity: 1052, ipv4: '10.0.0.52', ipv6: 'fd00::52' });
  change(a, 'allow', { direction: 'egress' });
});
after(() => stack.disposeAsync());

/** A pod as the agent makes one: a veth pair, a gateway of its own, programs on the host's end, a host route. */
function addPod(endpoint: Omit<Pod, 'ns' | 'programs'>): Pod {
  const ns = stack.use(new Netns(`pod${endpoint.id}`));
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
  const endpointIfindex = ifindexOf(device);
  const programs = node.endpoint({ ...endpoint, config: { endpointIfindex } });
  attach(programs.object.program('from_container').fd, endpointIfindex, 'ingress');
  attach(programs.object.program('to_container').fd, endpointIfindex, 'egress');
  return { ...endpoint, ns, programs };
}

function ifindexOf(device: string): number {
  return Number(/^(\d+):/.exec(host.ip(`-o link show ${device}`))![1]);
}

function attach(programFd: number, ifindex: number, hook: TcxHook): TcxLink {
  using ns = KernelNetns.open(host.path);
  return stack.use(ns.run(() => TcxLink.createSync(programFd, ifindex, hook)));
}

function change(pod: Pod, what: 'allow' | 'revoke', ...rules: TestRule[]): void {
  pod.programs[what](...rules);
  node.raiseRevision(pod.id);
}

/** With rules in force for as long as `check` runs. */
async function withIngress(
  pod: Pod,
  rules: readonly Omit<TestRule, 'direction'>[],
  check: () => void | Promise<void>,
): Promise<void> {
  const ingress = rules.map((rule): TestRule => ({ direction: 'ingress', ...rule }));
  change(pod, 'allow', ...ingress);
  try {
    await check();
  } finally {
    change(pod, 'revoke', ...ingress);
    await node.forgetConnections();
  }
}

/** Whether one echo request of `ns` is answered. */
function pings(ns: Netns, to: string): boolean {
  return tryRun([...ns.enter, 'ping', '-n', '-c', '1', '-W', '1', to]).status === 0;
}

/** Whether a TCP client in `from` gets a line from a server in `to`. */
async function talks(from: Netns, to: Netns, address: string): Promise<boolean> {
  const server = start([...to.enter, 'busybox', 'nc', '-l', '-p', '8080', '-e', 'echo', 'hello'], { stdio: 'ignore' });
  try {
    await waitFor('the server to listen', () => run([...to.enter, 'ss', '-Hltn']).includes(':8080'));
    return tryRun([...from.enter, 'nc', '-w', '1', address, '8080'], { input: '' }).stdout === 'hello\n';
  } finally {
    await stop(server, 'SIGKILL');
  }
}

for (const family of ['ipv4', 'ipv6'] as const satisfies Family[]) {
  describe(`on the wire, ${family}`, () => {
    test('pod to pod: denied until allowed, by ping and by TCP', async () => {
      assert.equal(pings(a.ns, b[family]), false);
      await withIngress(b, [{ identity: a.identity }], async () => {
        assert.equal(pings(a.ns, b[family]), true);
        assert.equal(await talks(a.ns, b.ns, b[family]), true);
        assert.equal(pings(b.ns, a[family]), false, 'what B asks is its own affair, and B may ask nothing');
      });
      assert.equal(pings(a.ns, b[family]), false);
    });

    test('pod to its gateway, which is the host', async () => {
      assert.equal(pings(a.ns, GATEWAY[family]), true);
      assert.equal(await talks(a.ns, host, GATEWAY[family]), true);
      assert.equal(pings(b.ns, GATEWAY[family]), false);
    });

    test('pod to the world and back', () => assert.equal(pings(a.ns, WORLD[family]), true));

    test('the host is the host by its sockets', () =>
      withIngress(b, [{ identity: HOST_IDENTITY }], async () => {
        assert.equal(pings(host, b[family]), true);
        assert.equal(await talks(host, b.ns, b[family]), true);
        assert.equal(pings(a.ns, b[family]), false);
        assert.equal(pings(world, b[family]), false, 'what the host forwards is not the host');
      }));

    test('an address of the host on a forwarded packet makes nobody the host', () =>
      withIngress(b, [{ identity: HOST_IDENTITY }], async () => {
        // As after masquerading: the ipcache knows the source as one of the host's addresses.
        node.ipcache(WORLD[family], HOST_IDENTITY);
        try {
          assert.equal(pings(world, b[family]), false);
          const asWorld = [{ identity: WORLD_IDENTITY[family] }];
          await withIngress(b, asWorld, () => assert.equal(pings(world, b[family]), true));
        } finally {
          node.ipcache(WORLD[family], WORLD_IDENTITY[family]);
        }
      }));

    test("from the network, by the host's stack and by from_netdev", () =>
      withIngress(b, [{ identity: WORLD_IDENTITY[family] }], () => {
        assert.equal(pings(world, b[family]), true);
        assert.equal(pings(host, b[family]), false);
        using direct = attach(node.host.program('from_netdev').fd, ifindexOf('ext0'), 'ingress');
        assert.equal(pings(world, b[family]), true);
        assert.equal(pings(world, a[family]), false);
        direct.detachSync();
      }));
  });
}

test('a policy that changes cuts a ping that runs, and another change brings it back', async () => {
  await withIngress(b, [{ identity: a.identity }], async () => {
    let lines = 0;
    const ping = start([...a.ns.enter, 'ping', '-n', '-i', '0.02', b.ipv4], { stdio: ['ignore', 'pipe', 'ignore'] });
    ping.stdout!.on('data', () => lines++);
    try {
      const answers = (): Promise<unknown> => {
        const seen = lines;
        return waitFor('answers', () => lines > seen + 3);
      };
      await answers();
      change(b, 'revoke', { direction: 'ingress', identity: a.identity });
      const dropped = async (): Promise<number> => (await node.counters())['ingress DROP_POLICY_DENIED'] ?? 0;
      const before = await dropped();
      await waitFor('drops', async () => (await dropped()) > before + 3);
      const seen = lines;
      await waitFor('more drops', async () => (await dropped()) > before + 8);
      assert.equal(lines, seen, 'nothing got through in the meantime');
      change(b, 'allow', { direction: 'ingress', identity: a.identity });
      await answers();
    } finally {
      await stop(ping);
    }
  });
});
