/** Pods that speak to the world under the node's address: who is seen there, what comes back, and what is let through. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { runAsync } from '../harness/exec.ts';
import { connect, Netns } from '../harness/netns.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { waitFor } from '../harness/wait.ts';

const PORT = 8080;
/** A host behind the world's, on a link that takes less than the node's. */
const FAR = { v4: '198.51.100.1', v6: '2001:db8:5::1', mtu: 1300 } as const;
/** Addresses of the world to which pods go as themselves. */
const KNOWN = { v4: '203.0.113.1', v6: '2001:db8:9::1' } as const;
const FLAGS = [
  ...['--enable-ipv4-masquerade', '--ipv4-native-routing-cidr', '10.0.0.0/8'],
  ...['--enable-ipv6-masquerade', '--ipv6-native-routing-cidr', 'fd00::/8'],
  ...['--non-masquerade-cidrs', '203.0.113.0/24', '--non-masquerade-cidrs', '2001:db8:9::/64'],
];

describe('masquerading', { timeout: 300_000 }, () => {
  const stack = new AsyncDisposableStack();
  let node: WeirNode, pod: Pod, other: Pod, world: Actor, far: Actor;

  before(async () => {
    node = stack.use(new WeirNode({ name: 'masquerade', flags: FLAGS }));
    const behind = stack.use(new Netns('far'));
    connect(
      { ns: node.world, name: 'eth1', addresses: ['198.51.100.254/24', '2001:db8:5::254/64'] },
      { ns: behind, name: 'eth0', addresses: [`${FAR.v4}/24`, `${FAR.v6}/64`] },
    );
    node.world.sysctl({ 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 });
    for (const [ns, device] of [
      [node.world, 'eth1'],
      [behind, 'eth0'],
    ] as const)
      ns.ip(`link set ${device} mtu ${FAR.mtu}`);
    for (const address of Object.values(KNOWN)) node.world.ip(`addr add ${address} dev lo`);
    for (const gateway of Object.values(WORLD_ADDRESSES)) node.ns.ip(`route add default via ${gateway}`);
    // It tells its peers that it takes more than its link does, so that they learn of that on the way.
    for (const [gateway, advmss] of [
      ['198.51.100.254', 1460],
      ['2001:db8:5::254', 1440],
    ] as const)
      behind.ip(`route add default via ${gateway} advmss ${advmss}`);
    for (const name of ['client', 'other']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
    await node.startAgent();
    pod = stack.use(await Pod.create(node, 'client'));
    other = stack.use(await Pod.create(node, 'other'));
    world = stack.use(await Actor.start(node.world));
    far = stack.use(await Actor.start(behind));
    await world.do({ op: 'serve-name', port: PORT, name: 'world' });
    await far.do({ op: 'serve', port: PORT });
    await other.actor.do({ op: 'serve-name', port: PORT, name: 'other' });
  });
  after(() => stack.disposeAsync());

  const ask = (transport: 'tcp' | 'udp', host: string, from: Actor = pod.actor): Promise<string> =>
    from.do({ op: 'ask', transport, host, port: PORT, timeoutMs: 3_000 });
  const visitor = async (): Promise<Pod> => {
    node.manifest('guest.yaml', podManifest('guest', { app: 'guest' }));
    return await Pod.create(node, 'guest');
  };
  const connections = async (): Promise<string[]> => {
    const { stdout } = await node.weir('bpf', 'nat', 'list');
    return stdout.trim().split('\n').filter(Boolean);
  };

  for (const family of ['v4', 'v6'] as const) {
    const own = (): string => (family === 'v4' ? pod.ipv4 : pod.ipv6);
    const named = (address: string): string => (family === 'v4' ? `${address}:${PORT}` : `[${address}]:${PORT}`);

    test(`the world sees the node, ${family}`, async () => {
      for (const transport of ['tcp', 'udp'] as const) {
        const world = WORLD_ADDRESSES[family];
        assert.equal(await ask(transport, world), `world ${NODE_ADDRESSES[family]} ${named(world)}`, transport);
      }
    });

    test(`and the pod where its address is known, ${family}`, async () => {
      assert.equal(await ask('tcp', KNOWN[family]), `world ${own()} ${named(KNOWN[family])}`);
    });

    test(`a port that is closed says so, ${family}`, async () => {
      const closed = { host: WORLD_ADDRESSES[family], port: 9, timeoutMs: 3_000 } as const;
      assert.equal(await pod.actor.do({ op: 'udp', ...closed }), 'ECONNREFUSED', 'an ICMP error');
      assert.equal(await pod.actor.do({ op: 'tcp', ...closed }), 'ECONNREFUSED', 'a reset');
    });

    test(`pods see each other, and whoever comes to a pod gets answers from it, ${family}`, async () => {
      const address = family === 'v4' ? other.ipv4 : other.ipv6;
      assert.equal(await ask('tcp', address), `other ${own()} ${named(address)}`);
      for (const transport of ['tcp', 'udp'] as const) {
        assert.match(await ask(transport, address, world), /^other /, transport);
      }
    });

    test(`ping, ${family}`, async () => {
      assert.equal(await pod.actor.do({ op: 'icmp', host: WORLD_ADDRESSES[family], timeoutMs: 3_000 }), 'ok');
      assert.equal(await pod.actor.do({ op: 'icmp', host: FAR[family], timeoutMs: 3_000 }), 'ok');
    });

    test(`a pod hears what size fits a link in the world, ${family}`, async () => {
      const sent = await pod.actor.do({ op: 'bulk', host: FAR[family], port: PORT, bytes: 500_000, timeoutMs: 20_000 });
      assert.equal(sent, 'ok');
      assert.match(pod.ns.ip(`${family === 'v6' ? '-6 ' : ''}route get ${FAR[family]}`), new RegExp(`mtu ${FAR.mtu}`));
    });

    test(`what is too large for a packet comes through in fragments, ${family}`, async () => {
      const ping = ['ping', '-c', '1', '-W', '3', '-s', '4000', WORLD_ADDRESSES[family]];
      const { status, stdout } = await runAsync([...pod.ns.enter, ...ping]);
      assert.equal(status, 0, stdout);
    });

    test(`many connections to one destination at once, ${family}`, async () => {
      const held = await Promise.all(
        Array.from({ length: 300 }, () =>
          pod.actor.do({ op: 'hold', host: FAR[family], port: PORT, timeoutMs: 20_000 }),
        ),
      );
      const ids = held.map((text) => Number(/^held (\d+)$/.exec(text)?.[1]));
      assert.ok(
        ids.every(Number.isInteger),
        held.find((text) => !text.startsWith('held')),
      );
      const said = await Promise.all(ids.map((id) => pod.actor.do({ op: 'say', id, timeoutMs: 20_000 })));
      assert.ok(said.every((text) => text === 'ok'));
      const end = named(FAR[family]);
      const ports = (await connections()).flatMap((line) =>
        line.includes(`IN ${end} -> `) ? [line.split(' ')[4]] : [],
      );
      assert.ok(ports.length >= 300);
      assert.equal(new Set(ports).size, ports.length);
    });

    test(`connections go on without the agent, and with the next one, ${family}`, async () => {
      const held = await pod.actor.do({ op: 'hold', host: FAR[family], port: PORT, timeoutMs: 5_000 });
      const id = Number(/^held (\d+)$/.exec(held)?.[1]);
      const say = (): Promise<string> => pod.actor.do({ op: 'say', id, timeoutMs: 5_000 });
      await node.stopAgent('SIGKILL');
      assert.equal(await say(), 'ok');
      assert.equal(
        await ask('tcp', WORLD_ADDRESSES[family]),
        `world ${NODE_ADDRESSES[family]} ${named(WORLD_ADDRESSES[family])}`,
      );
      await node.startAgent();
      assert.equal(await say(), 'ok');
    });
  }

  test('policy knows the world by its own addresses', async () => {
    const toCIDR = [`${WORLD_ADDRESSES.v4}/32`, `${WORLD_ADDRESSES.v6}/128`];
    node.manifest(
      'policy.json',
      JSON.stringify({
        ...{
          apiVersion: 'cilium.io/v2',
          kind: 'CiliumNetworkPolicy',
          metadata: { name: 'world', namespace: 'default' },
        },
        spec: { endpointSelector: { matchLabels: { app: 'client' } }, egress: [{ toCIDR }] },
      }),
    );
    const reach = (host: string): Promise<string> => pod.actor.do({ op: 'tcp', host, port: PORT, timeoutMs: 700 });
    await waitFor('the policy', async () => (await reach(FAR.v4)) === 'timeout');
    assert.equal(await reach(FAR.v6), 'timeout');
    for (const address of Object.values(WORLD_ADDRESSES)) assert.match(await ask('tcp', address), /^world /);
    node.manifest('policy.json', '');
    await waitFor('no policy', async () => (await reach(FAR.v4)) === 'ok');
  });

  test('a pod that is gone leaves no connection behind, and flushing none at all', async () => {
    let ipv4 = '';
    const has = async (): Promise<boolean> => (await connections()).some((line) => line.includes(`${ipv4}:`));
    {
      await using guest = await visitor();
      ipv4 = guest.ipv4;
      await ask('tcp', WORLD_ADDRESSES.v4, guest.actor);
      assert.ok(await has());
    }
    await waitFor('its end', async () => !(await has()));
    assert.notEqual((await connections()).length, 0);
    assert.equal((await node.weir('bpf', 'nat', 'flush')).status, 0);
    assert.deepEqual(await connections(), []);
  });

  test('status says so, and the listing has both sides', async () => {
    const { stdout } = await node.weir('status');
    assert.match(stdout, /^Masquerading: +BPF +\[eth0\] +10\.0\.0\.0\/8 .*\[IPv4: Enabled, IPv6: Enabled\]$/m);
    await ask('tcp', WORLD_ADDRESSES.v4);
    const lines = await connections();
    const [client, server] = [pod.ipv4, `${WORLD_ADDRESSES.v4}:${PORT}`].map((text) => text.replaceAll('.', '\\.'));
    assert.ok(
      lines.some((line) => new RegExp(`^TCP OUT ${client}:\\d+ -> ${server} XLATE_SRC 192\\.0\\.2\\.1:6`).test(line)),
    );
    assert.ok(
      lines.some((line) => new RegExp(`^TCP IN ${server} -> 192\\.0\\.2\\.1:6\\d+ XLATE_DST ${client}:`).test(line)),
    );
  });
});

test('the policy of the node has no word in it', { timeout: 120_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'walled', flags: [...FLAGS, '--enable-host-firewall'] }));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  node.manifest(
    'node.json',
    JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name, labels: { role: 'walled' } } }),
  );
  node.manifest(
    'policy.json',
    JSON.stringify({
      ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata: { name: 'wall' } },
      spec: { nodeSelector: { matchLabels: { role: 'walled' } }, ingress: [{}], egress: [{}] },
    }),
  );
  await node.startAgent();
  const pod = stack.use(await Pod.create(node, 'client'));
  const host = stack.use(await Actor.start(node.ns));
  const world = stack.use(await Actor.start(node.world));
  await world.do({ op: 'serve-name', port: PORT, name: 'world' });
  for (const family of ['v4', 'v6'] as const) {
    const question = { op: 'ask', host: WORLD_ADDRESSES[family], port: PORT, timeoutMs: 1_000 } as const;
    for (const transport of ['tcp', 'udp'] as const) {
      const answer = await pod.actor.do({ ...question, transport, timeoutMs: 5_000 });
      assert.match(answer, new RegExp(`^world ${NODE_ADDRESSES[family]} `));
      assert.equal(await host.do({ ...question, transport }), 'timeout', 'what the node itself sends');
    }
  }
});
