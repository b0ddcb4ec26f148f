/** An agent that crashes and comes back must not be felt by traffic: neither by what is allowed nor by what is denied. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { start } from '../harness/exec.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS } from '../harness/wait.ts';

test('kill -9 of the agent during traffic loses no packet and changes no verdict', async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'restart' }));
  for (const name of ['client', 'server', 'stranger']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('policy.yaml', serverPolicy('client'));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  const stranger = stack.use(await Pod.create(node, 'stranger'));
  await server.actor.do({ op: 'serve', port: 80 });
  const to = { host: server.ipv4, port: 80, timeoutMs: ANSWER_MS };
  const knock = { op: 'tcp', ...to, timeoutMs: SILENCE_MS } as const;
  const held = await client.actor.do({ op: 'hold', ...to });
  assert.match(held, /^held /);
  const connection = { op: 'say', id: Number(held.slice(5)), timeoutMs: ANSWER_MS } as const;
  assert.equal(await stranger.actor.do(knock), 'timeout');

  const pings = [pinging(client, server.ipv4), pinging(client, server.ipv6)];
  await node.stopAgent('SIGKILL');
  assert.equal(await client.actor.do(connection), 'ok', 'established, without an agent');
  assert.equal(await client.actor.do({ op: 'tcp', ...to }), 'ok', 'allowed and new, without an agent');
  assert.equal(await stranger.actor.do(knock), 'timeout', 'denied, without an agent');
  await node.startAgent();
  assert.equal(await client.actor.do(connection), 'ok', 'established, after the restart');
  assert.equal(await stranger.actor.do(knock), 'timeout', 'denied, after the restart');
  for (const report of await Promise.all(pings)) assert.match(report, /1000 packets transmitted, 1000 received/);

  const { stdout } = await node.weir('endpoint', 'list', '-o', 'json');
  const states = (JSON.parse(stdout) as { status: { state: string } }[]).map((endpoint) => endpoint.status.state);
  assert.deepEqual(states, ['ready', 'ready', 'ready']);
});

/** Sends 1,000 pings, one each 5 ms; resolves with what ping prints at its end. */
async function pinging(pod: Pod, address: string): Promise<string> {
  const child = start([...pod.ns.enter, 'ping', '-n', '-q', '-i', '0.005', '-c', '1000', '-W', '30', address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await new Promise((resolve) => child.on('close', resolve));
  return text;
}
