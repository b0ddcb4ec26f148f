/** The example of docs/services.md, with the server's own address in place of the one that stands there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { codeBlocks } from '../../hack/markdown.ts';
import { Actor } from '../harness/actor.ts';
import { NODE_ADDRESSES, WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

const PAGE = path.resolve(import.meta.dirname, '../../docs/services.md');

test('the service of docs/services.md answers where the page says, and the commands of the page show it', async () => {
  const [example] = codeBlocks(readFileSync(PAGE, 'utf8')).filter(({ language }) => language === 'yaml');
  assert.ok(example !== undefined);
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'node1', socketLb: true }));
  for (const name of ['server', 'client']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.world.ip(`route add 198.51.100.0/24 via ${NODE_ADDRESSES.v4}`);
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  const world = stack.use(await Actor.start(node.world));
  const host = stack.use(await Actor.start(node.ns, node.cgroup));
  await server.actor.do({ op: 'serve', port: 8080 });
  node.manifest('web.yaml', example.text.replace('10.244.0.10', server.ipv4));
  const reach = (from: Actor, address: string, port: number): Promise<string> =>
    from.do({ op: 'tcp', host: address, port, timeoutMs: ANSWER_MS });
  await waitFor('the service', async () => (await reach(client.actor, '10.96.0.10', 80)) === 'ok');
  assert.equal(await reach(host, '10.96.0.10', 80), 'ok');
  for (const from of [world, client.actor, host]) {
    assert.equal(await reach(from, NODE_ADDRESSES.v4, 30080), 'ok');
    for (const address of ['198.51.100.7', '198.51.100.8']) assert.equal(await reach(from, address, 80), 'ok');
  }
  assert.equal(await reach(host, '127.0.0.1', 30080), 'ok');
  const commands = codeBlocks(readFileSync(PAGE, 'utf8'))
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.trim().split('\n'))
    .map((line) => line.replace(/ *#.*/, '').split(' ').slice(1))
    .filter(([first]) => first !== 'monitor');
  for (const words of commands) {
    const { status, stdout, stderr } = await node.weir(...words);
    assert.equal(status, 0, `${words.join(' ')}: ${stderr}`);
    assert.match(stdout, words.includes('ct') ? new RegExp(server.ipv4) : /10\.96\.0\.10/, words.join(' '));
  }
});
