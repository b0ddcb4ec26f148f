/** Services where sockets connect: TCP, UDP with and without a connection, v4, v6 and v4 on v6 sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import type { AskCommand } from '../harness/pod-protocol.ts';
import { backendOf, serviceManifest, type ServiceBackend } from '../harness/service.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const VIPS = ['10.96.0.10', 'fd00:96::10', '::ffff:10.96.0.10'] as const;
const PORTS = { port: 80, targetPort: 8080 } as const;
const TRANSPORTS = ['tcp', 'udp', 'udp-connected'] as const;

function web(backends: readonly ServiceBackend[]): string {
  return serviceManifest({ name: 'web', ...PORTS, spec: { clusterIPs: VIPS.slice(0, 2) }, backends });
}

function question(transport: AskCommand['transport'], host: string, more: Partial<AskCommand> = {}): AskCommand {
  return { op: 'ask', transport, host, port: PORTS.port, timeoutMs: ANSWER_MS, ...more };
}

test('a socket that asks for a service speaks to a backend, and believes to speak to the service', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'sockets', socketLb: true }));
  for (const name of ['server', 'client']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('other.yaml', podManifest('other', { app: 'server' }));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const other = stack.use(await Pod.create(node, 'other'));
  const client = stack.use(await Pod.create(node, 'client'));
  const host = stack.use(await Actor.start(node.ns, node.cgroup));
  const outside = stack.use(await Actor.start(client.ns));
  for (const pod of [server, other]) await pod.actor.do({ op: 'serve-name', port: PORTS.targetPort, name: pod.name });
  const ask = (...words: Parameters<typeof question>): Promise<string> => client.actor.do(question(...words));
  const knock = (...words: Parameters<typeof question>): Promise<string> =>
    client.actor.do({ ...question(...words), timeoutMs: SILENCE_MS });

  node.manifest('web.yaml', web([backendOf(server)]));
  // Not by asking: who asks before there is a service sends a packet to it.
  await waitFor('the service', async () => {
    const { stdout } = await node.weir('bpf', 'lb', 'list');
    const frontends = ['10.96.0.10:80/TCP', '10.96.0.10:80/UDP', '[fd00:96::10]:80/TCP', '[fd00:96::10]:80/UDP'];
    return frontends.every((frontend) => stdout.includes(frontend));
  });

  await t.test('the agent says so', async () => {
    const { stdout } = await node.weir('status');
    assert.match(stdout, /^Socket LB: +Enabled +\//m);
  });

  for (const vip of VIPS) {
    for (const transport of TRANSPORTS) {
      await t.test(`${transport} to ${vip}`, async () => {
        const mapped = vip.startsWith('::ffff:');
        const from = vip.includes('.') ? client.ipv4 : client.ipv6;
        const believed = vip.includes(':') ? `[${vip}]:80` : `${vip}:80`;
        assert.equal(await ask(transport, vip), `server ${from} ${believed}`, mapped ? 'IPv4 on an IPv6 socket' : '');
      });
    }
  }

  await t.test('no packet to the service is ever sent', async () => {
    const { stdout } = await node.weir('map', 'get', 'weir_lb_flows');
    assert.equal(stdout.trim().split('\n').length, 1, stdout);
  });

  await t.test('the node itself reaches services, and its loopback stays its own', async () => {
    for (const vip of VIPS) assert.match(await host.do(question('tcp', vip)), /^server /);
    assert.match(await host.do(question('udp', VIPS[0])), /^server .* 10\.96\.0\.10:80$/);
  });

  await t.test('a process of another cgroup is translated packet by packet', async () => {
    assert.equal(await outside.do(question('tcp', VIPS[0])), `server ${client.ipv4} 10.96.0.10:80`);
    const { stdout } = await node.weir('map', 'get', 'weir_lb_flows');
    assert.equal(stdout.trim().split('\n').length, 2, stdout);
  });

  await t.test('policy is that of the backend', async () => {
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await waitFor('the denial', async () => (await knock('tcp', VIPS[0])) === 'timeout');
    assert.equal(await knock('udp', VIPS[1]), 'timeout');
    node.manifest('policy.yaml', serverPolicy('client'));
    await waitFor('the permission', async () => (await ask('tcp', VIPS[0])).startsWith('server '));
    node.manifest('policy.yaml', '');
  });

  await t.test('a datagram socket keeps its backend while it is there, and then gets another', async () => {
    const keep = { socket: 'kept' } as const;
    assert.match(await ask('udp', VIPS[0], keep), /^server /);
    node.manifest('web.yaml', web([backendOf(server), backendOf(other)]));
    await waitFor('both backends', async () => {
      const { stdout } = await node.weir('service', 'list');
      return stdout.includes(`${other.ipv4}:8080`);
    });
    for (let i = 0; i < 20; i++) assert.match(await ask('udp', VIPS[0], keep), /^server .* 10\.96\.0\.10:80$/);
    node.manifest('web.yaml', web([backendOf(other)]));
    await waitFor('the other backend', async () => (await ask('udp', VIPS[0], keep)).startsWith('other '));
  });

  await t.test('an agent that is killed leaves sockets translated, and one that comes back takes over', async () => {
    await node.stopAgent('SIGKILL');
    assert.match(await ask('tcp', VIPS[0]), /^other /);
    await node.startAgent();
    assert.match(await ask('tcp', VIPS[1]), /^other /);
    assert.match(await ask('udp', VIPS[2], { socket: 'kept6' }), /^other .*10\.96\.0\.10\]:80$/);
  });

  await t.test('a service without backends is unreachable, at once', async () => {
    node.manifest('web.yaml', web([]));
    await waitFor('the refusal', async () => (await ask('tcp', VIPS[0])) === 'EHOSTUNREACH');
    for (const vip of VIPS) {
      assert.equal(await ask('tcp', vip), 'EHOSTUNREACH');
      assert.equal(await ask('udp', vip), 'EHOSTUNREACH');
    }
  });
});

test('what an agent attached to sockets, uninstalling takes away; one that is told not to attaches nothing', async () => {
  await using node = new WeirNode({ name: 'sockets', socketLb: true });
  await node.startAgent();
  assert.equal(node.leftovers().filter((pin) => pin.includes('/links/sockets/')).length, 8);
  await node.stopAgent();
  assert.deepEqual(await node.uninstall(), []);
  assert.deepEqual(node.leftovers(), []);
  await using plain = new WeirNode({ name: 'plain' });
  await plain.startAgent();
  assert.match((await plain.weir('status')).stdout, /^Socket LB: +Disabled$/m);
});
