/** Services for clients from outside: node ports, load balancers' and external addresses, with real sockets. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { run } from '../harness/exec.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import type { AskCommand } from '../harness/pod-protocol.ts';
import { backendOf, serviceManifest, type ServiceBackend, type ServiceSpec } from '../harness/service.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const VIPS = ['10.96.0.10', 'fd00:96::10'] as const;
const EXTERNAL = ['198.51.100.8', '2001:db8:5::8'] as const;
const BALANCER = ['198.51.100.7', '2001:db8:5::7'] as const;
const NODE_PORT = 30080;
const HOST_PORT = 30070;
const HEALTH_PORT = 30090;
const FAMILIES = [0, 1] as const;
const NODE = [NODE_ADDRESSES.v4, NODE_ADDRESSES.v6] as const;
const WORLD = [WORLD_ADDRESSES.v4, WORLD_ADDRESSES.v6] as const;

interface Scene {
  readonly node: WeirNode;
  readonly world: Actor;
  readonly server: Pod;
  readonly other: Pod;
  readonly client: Pod;
  /** Writes the service `web`, and waits until the kernel has it. */
  readonly serve: (change?: Partial<ServiceSpec>) => Promise<void>;
}

function text(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function question(transport: AskCommand['transport'], host: string, port: number, timeoutMs = ANSWER_MS): AskCommand {
  return { op: 'ask', transport, host, port, timeoutMs };
}

/** As {@link question}, where nobody is to answer. */
function knock(...words: Parameters<typeof question>): AskCommand {
  return { ...question(...words), timeoutMs: SILENCE_MS };
}

/** An ICMP error that comes while the kernel is still busy with connect() is lost: the second SYN, a second later, tells. */
const REFUSAL_MS = ANSWER_MS;

/** A node with two servers and a client, and a host of the world that routes services' addresses to the node. */
async function scene(stack: AsyncDisposableStack, flags: readonly string[] = [], socketLb = false): Promise<Scene> {
  const node = stack.use(new WeirNode({ name: 'outside', flags, socketLb }));
  for (const name of ['server', 'other']) node.manifest(`${name}.yaml`, podManifest(name, { app: 'server' }));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  for (const prefix of ['198.51.100.0/24', '10.96.0.0/16']) node.world.ip(`route add ${prefix} via ${NODE[0]}`);
  for (const prefix of ['2001:db8:5::/64', 'fd00:96::/64']) node.world.ip(`route add ${prefix} via ${NODE[1]}`);
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const other = stack.use(await Pod.create(node, 'other'));
  const client = stack.use(await Pod.create(node, 'client'));
  const world = stack.use(await Actor.start(node.world));
  for (const pod of [server, other]) await pod.actor.do({ op: 'serve-name', port: 8080, name: pod.name });
  let version = 0;
  const serve = async (change: Partial<ServiceSpec> = {}): Promise<void> => {
    const base = { name: 'web', port: 80, targetPort: 8080, nodePort: NODE_PORT, loadBalancer: BALANCER };
    const spec = { type: 'LoadBalancer', clusterIPs: VIPS, externalIPs: EXTERNAL, ...change.spec };
    // The port of a service of its own says when the kernel is as far as this.
    const mark = 10_000 + ++version;
    const clock = { name: 'clock', port: mark, targetPort: 1, spec: { clusterIPs: ['10.96.9.9'] }, backends: [] };
    node.manifest('web.yaml', serviceManifest({ backends: [backendOf(server)], ...base, ...change, spec }));
    node.manifest('zclock.yaml', serviceManifest(clock));
    await waitFor('the service', async () =>
      (await node.weir('bpf', 'lb', 'list')).stdout.includes(`10.96.9.9:${mark}/TCP`),
    );
  };
  return { node, world, server, other, client, serve };
}

/** A pod that wants a port of its node, for TCP and UDP. */
function withHostPort(manifest: string): string {
  const port = (protocol: string): string => `{ containerPort: 8080, hostPort: ${HOST_PORT}, protocol: ${protocol} }`;
  return `${manifest}      ports: [${port('TCP')}, ${port('UDP')}]\n`;
}

async function dropped(node: WeirNode, reason: string): Promise<number> {
  const { stdout } = await node.weir('bpf', 'metrics', 'list', '-o', 'json');
  const counters = JSON.parse(stdout) as { reason: string; packets: number }[];
  return counters.filter((counter) => counter.reason === reason).reduce((sum, { packets }) => sum + packets, 0);
}

/** What a load balancer of the world is told of `web`: the status, and the number of backends. */
function health(node: WeirNode, host: string): string {
  const script = `const response = await fetch('http://${host}:${HEALTH_PORT}/healthz');
    console.log(response.status, (await response.json()).localEndpoints);`;
  return run([...node.world.enter, process.execPath, '--input-type=module', '-e', script]).trim();
}

async function reached(ask: () => Promise<string>, times = 20): Promise<Set<string>> {
  const names = new Set<string>();
  for (let i = 0; i < times; i++) names.add((await ask()).split(' ')[0]!);
  return names;
}

describe('from outside of the node', { timeout: 600_000 }, () => {
  test('services answer as themselves, and backends see who asks', async (t) => {
    await using stack = new AsyncDisposableStack();
    const { node, world, client, server, serve } = await scene(stack);
    await serve();
    for (const family of FAMILIES) {
      for (const transport of ['tcp', 'udp', 'udp-connected'] as const) {
        for (const [kind, address, port] of [
          ['node port', NODE[family], NODE_PORT],
          ['load balancer', BALANCER[family], 80],
          ['external address', EXTERNAL[family], 80],
        ] as const) {
          await t.test(`${kind}, ${transport} to ${address}`, async () => {
            const answer = `server ${WORLD[family]} ${text(address, port)}`;
            assert.equal(await world.do(question(transport, address, port)), answer);
          });
        }
      }
      await t.test(`a pod by all of them, packet by packet, IPv${family === 0 ? 4 : 6}`, async () => {
        const own = family === 0 ? client.ipv4 : client.ipv6;
        for (const [address, port] of [
          [NODE[family], NODE_PORT],
          [BALANCER[family], 80],
          [EXTERNAL[family], 80],
        ] as const) {
          const answer = `server ${own} ${text(address, port)}`;
          assert.equal(await client.actor.do(question('tcp', address, port)), answer);
        }
      });
      await t.test(`a pod that is its own backend reaches itself, IPv${family === 0 ? 4 : 6}`, async () => {
        for (const transport of ['tcp', 'udp'] as const) {
          const answer = await server.actor.do(question(transport, VIPS[family], 80));
          const nobody = family === 0 ? '169.254.42.1' : '100::a9fe:2a01';
          assert.equal(answer, `server ${nobody} ${text(VIPS[family], 80)}`);
        }
      });
      await t.test(`a cluster address is not for the world, ${VIPS[family]}`, async () => {
        const before = await dropped(node, 'Is a ClusterIP');
        assert.equal(await world.do(knock('tcp', VIPS[family], 80)), 'timeout');
        assert.ok((await dropped(node, 'Is a ClusterIP')) > before);
      });
    }
    await t.test('a pod with the network of the node, likewise', async () => {
      const own = { ...backendOf(server), ipv4: NODE[0], ipv6: NODE[1] };
      const host = stack.use(await Actor.start(node.ns));
      await host.do({ op: 'serve-name', port: 8080, name: 'host' });
      await serve({ backends: [own] });
      for (const family of FAMILIES) {
        for (const [transport, address, port] of [
          ['tcp', NODE[family], NODE_PORT],
          ['udp-connected', BALANCER[family], 80],
          ['tcp', EXTERNAL[family], 80],
        ] as const) {
          const answer = `host ${WORLD[family]} ${text(address, port)}`;
          assert.equal(await world.do(question(transport, address, port)), answer);
        }
        assert.match(await client.actor.do(question('tcp', EXTERNAL[family], 80)), /^host /, 'and a pod');
        assert.match(await world.do(question('tcp', NODE[family], 8080)), /^host /, 'asked directly');
      }
      await serve();
    });
    await t.test('a port of the node that a pod wants for its own', async () => {
      node.manifest('server.yaml', withHostPort(podManifest('server', { app: 'server' })));
      const listed = async (): Promise<boolean> => (await node.weir('service', 'list')).stdout.includes('HostPort');
      await waitFor('the host port', listed);
      for (const family of FAMILIES) {
        const at = text(NODE[family], HOST_PORT);
        for (const transport of ['tcp', 'udp-connected'] as const) {
          const answer = `server ${WORLD[family]} ${at}`;
          assert.equal(await world.do(question(transport, NODE[family], HOST_PORT)), answer);
        }
        const own = family === 0 ? client.ipv4 : client.ipv6;
        assert.equal(await client.actor.do(question('tcp', NODE[family], HOST_PORT)), `server ${own} ${at}`);
      }
    });
    await t.test('a connection goes on while the agent is away, and when it has come back', async () => {
      const keep = async (): Promise<string> =>
        await world.do({ ...question('udp', NODE[0], NODE_PORT), socket: 'kept' });
      assert.match(await keep(), /^server /);
      await node.stopAgent('SIGKILL');
      assert.match(await world.do(question('tcp', NODE[1], NODE_PORT)), /^server /);
      await node.startAgent();
      assert.match(await world.do(question('tcp', NODE[0], NODE_PORT)), /^server /);
      assert.match(await keep(), /^server /);
    });
    await t.test('policy is that of the pod, and sees the world', (t) => policies(t, node, world));
  });

  test('who may come, where to, and what then', async (t) => {
    await using stack = new AsyncDisposableStack();
    const { node, world, server, other, client, serve } = await scene(stack, ['--bpf-lb-algorithm', 'maglev']);

    await t.test('source ranges of a load balancer', async () => {
      const ranges = ['203.0.113.0/24', '2001:db8:77::/64'];
      await serve({ spec: { loadBalancerSourceRanges: ranges } });
      for (const family of FAMILIES) {
        const before = await dropped(node, 'Denied by LB src range check');
        assert.equal(await world.do(knock('tcp', BALANCER[family], 80)), 'timeout');
        assert.ok((await dropped(node, 'Denied by LB src range check')) > before);
        assert.match(await world.do(question('tcp', NODE[family], NODE_PORT)), /^server /, 'node ports are for all');
      }
      const mine = WORLD.map((address) => `${address}/${address.includes(':') ? 128 : 32}`);
      await serve({ spec: { loadBalancerSourceRanges: [...ranges, ...mine] } });
      for (const family of FAMILIES) assert.match(await world.do(question('tcp', BALANCER[family], 80)), /^server /);
    });

    await t.test('externalTrafficPolicy Local: only backends of this node, and a refusal without any', async () => {
      const away: ServiceBackend = { ...backendOf(other), nodeName: 'elsewhere' };
      const spec = { externalTrafficPolicy: 'Local', healthCheckNodePort: HEALTH_PORT };
      await serve({ backends: [backendOf(server), away], spec });
      for (const host of [NODE[0], `[${NODE[1]}]`]) assert.equal(health(node, host), '200 1');
      const ask = (): Promise<string> => world.do(question('tcp', NODE[0], NODE_PORT));
      assert.deepEqual([...(await reached(ask))], ['server']);
      assert.match((await node.weir('bpf', 'lb', 'list')).stdout, /Local, two-scopes/);
      await serve({ backends: [away], spec });
      assert.equal(health(node, NODE[0]), '503 0');
      for (const family of FAMILIES) {
        assert.equal(await world.do(question('tcp', NODE[family], NODE_PORT, REFUSAL_MS)), 'ECONNREFUSED');
        assert.equal(await world.do(question('udp-connected', NODE[family], NODE_PORT, REFUSAL_MS)), 'ECONNREFUSED');
        assert.match(await client.actor.do(question('tcp', BALANCER[family], 80)), /^other /, 'pods may go anywhere');
      }
    });

    await t.test('internalTrafficPolicy Local: likewise for the cluster address', async () => {
      const away: ServiceBackend = { ...backendOf(other), nodeName: 'elsewhere' };
      await serve({ backends: [backendOf(server), away], spec: { internalTrafficPolicy: 'Local' } });
      const names = await reached(() => client.actor.do(question('tcp', VIPS[0], 80)));
      assert.deepEqual([...names], ['server']);
    });

    await t.test('session affinity: one backend for each client, as long as it has it', async () => {
      const both = [backendOf(server), backendOf(other)];
      const spec = { sessionAffinity: 'ClientIP' };
      await serve({ backends: both, spec });
      for (const family of FAMILIES) {
        const ask = (): Promise<string> => world.do(question('tcp', NODE[family], NODE_PORT));
        assert.equal((await reached(ask)).size, 1);
        assert.equal((await reached(() => client.actor.do(question('tcp', VIPS[family], 80)))).size, 1);
      }
      assert.match((await node.weir('bpf', 'lb', 'list', '--affinity')).stdout, new RegExp(WORLD[0]));
      const [kept] = await reached(() => world.do(question('tcp', NODE[0], NODE_PORT)), 1);
      await serve({
        backends: both.filter((backend) => backend.ipv4 !== (kept === 'server' ? server : other).ipv4),
        spec,
      });
      const names = await reached(() => world.do(question('tcp', NODE[0], NODE_PORT)));
      assert.deepEqual([...names], [kept === 'server' ? 'other' : 'server'], 'a backend that is gone is nobody’s');
    });

    await t.test('terminating backends serve when nobody else does', async () => {
      const terminating = backendOf(server, { ready: false, serving: true, terminating: true });
      const ask = (): Promise<string> => world.do(question('tcp', NODE[0], NODE_PORT));
      await serve({ backends: [terminating] });
      assert.deepEqual([...(await reached(ask, 5))], ['server']);
      await serve({ backends: [terminating, backendOf(other)] });
      assert.deepEqual([...(await reached(ask))], ['other']);
      await serve({ backends: [backendOf(server, { ready: false, serving: false, terminating: true })] });
      assert.equal(await world.do(question('tcp', NODE[0], NODE_PORT, REFUSAL_MS)), 'ECONNREFUSED');
    });

    await t.test('a service without backends refuses, whoever asks', async () => {
      await serve({ backends: [] });
      for (const family of FAMILIES) {
        for (const transport of ['tcp', 'udp-connected'] as const) {
          const what = `${transport} over ${NODE[family]}`;
          assert.equal(await world.do(question(transport, NODE[family], NODE_PORT, REFUSAL_MS)), 'ECONNREFUSED', what);
          assert.equal(await client.actor.do(question(transport, VIPS[family], 80, REFUSAL_MS)), 'ECONNREFUSED', what);
        }
      }
      assert.ok((await dropped(node, 'Service backend not found')) > 0);
    });
  });

  test('the node itself, by its sockets: node ports at every address, loopback too', async () => {
    await using stack = new AsyncDisposableStack();
    const { node, client, server, serve } = await scene(stack, [], true);
    const host = stack.use(await Actor.start(node.ns, node.cgroup));
    await serve();
    for (const address of [...NODE, '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
      for (const transport of ['tcp', 'udp'] as const) {
        const answer = await host.do(question(transport, address, NODE_PORT));
        assert.match(answer, /^server /, `${transport} to ${address}`);
        assert.ok(answer.endsWith(` ${text(address, NODE_PORT)}`), answer);
      }
    }
    assert.equal(
      await client.actor.do(question('tcp', '127.0.0.1', NODE_PORT, REFUSAL_MS)),
      'ECONNREFUSED',
      'a pod has its own',
    );
    assert.match(await client.actor.do(question('tcp', NODE[0], NODE_PORT)), /^server /);
    assert.match(await server.actor.do(question('tcp', VIPS[0], 80)), /^server .* 10\.96\.0\.10:80$/);
  });
});

async function policies(t: TestContext, node: WeirNode, world: Actor): Promise<void> {
  const policy = (entity: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress: [{ fromEntities: [${entity}], toPorts: [{ ports: [{ port: "8080" }] }] }]
`;
  for (const family of FAMILIES) {
    await t.test(`to ${NODE[family]}`, async () => {
      const ask = (): Promise<string> => world.do(knock('tcp', NODE[family], NODE_PORT));
      node.manifest('policy.yaml', policy('cluster'));
      await waitFor('the denial', async () => (await ask()) === 'timeout');
      assert.equal(await world.do(knock('tcp', NODE[family], HOST_PORT)), 'timeout', 'by its host port, too');
      node.manifest('policy.yaml', policy('world'));
      await waitFor('the permission', async () => (await ask()).startsWith('server '));
    });
  }
}
