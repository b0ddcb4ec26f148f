/** `weir policy trace` against a real agent with the demo's manifests: the words for what the kernel does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MANIFESTS, PODS, type PodName } from '../demo/scenario.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod } from '../harness/pod.ts';
import { SILENCE_MS } from '../harness/wait.ts';

test('a denied flow of the demo names the policy that denies by default and the rule that came nearest', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'trace' }));
  for (const [file, text] of Object.entries(MANIFESTS)) node.manifest(file, text);
  await node.startAgent();
  const pods = new Map<PodName, Pod>();
  for (const name of ['db', 'api', 'scanner'] as const) {
    pods.set(name, stack.use(await Pod.create(node, name, PODS[name].namespace)));
  }
  await pods.get('api')!.actor.do({ op: 'serve', port: 8080 });
  const trace = (src: string, dst: string, dport: string) =>
    node.weir('policy', 'trace', '--src', src, '--dst', dst, '--dport', dport, '--expect', 'denied');
  const reach = (port: number): Promise<string> =>
    pods.get('scanner')!.actor.do({ op: 'tcp', host: pods.get('api')!.ipv4, port, timeoutMs: SILENCE_MS });

  await t.test('by pod', async () => {
    assert.equal(await reach(8080), 'timeout');
    const { stdout, stderr, status } = await trace('tools/scanner', 'shop/api', '8080');
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^DENIED: tools\/scanner -> shop\/api TCP\/8080\n/);
    assert.match(stdout, /deny by default:\n\s+CiliumNetworkPolicy shop\/api/);
    assert.match(stdout, /nearest is CiliumNetworkPolicy shop\/api spec\.ingress\[0\]/);
    assert.ok(stdout.trimEnd().split('\n').length <= 24, stdout);
  });

  await t.test('by address, to the same end', async () => {
    const { stdout, status } = await trace(pods.get('scanner')!.ipv4, pods.get('api')!.ipv6, '8080/TCP');
    assert.equal(status, 0);
    assert.match(stdout, /nearest is CiliumNetworkPolicy shop\/api spec\.ingress\[0\]/);
  });

  await t.test('the rules and their selectors, in every format of the built program', async () => {
    const get = async (...words: string[]): Promise<string> => {
      const { stdout, stderr, status } = await node.weir('policy', ...words);
      assert.equal(status, 0, stderr);
      return stdout;
    };
    assert.match(await get('get', 'shop/api'), /^POLICY .*\nCiliumNetworkPolicy shop\/api .* ingress allow /);
    assert.match(
      await get('get', 'shop/api', '-o', 'yaml'),
      /^revision: \d+\npolicy:\n {2}- name: CiliumNetworkPolicy shop\/api/,
    );
    assert.match(await get('get', '-o', 'jsonpath={.policy[*].name}'), /CiliumNetworkPolicy shop\/api/);
    assert.match(await get('selectors'), / shop\/api/);
    assert.ok(Array.isArray(JSON.parse(await get('selectors', '-o', 'json'))));
  });

  await t.test('and an allowed one is allowed', async () => {
    const { stdout, status } = await trace('shop/api', 'shop/db', '5432');
    assert.equal(status, 1);
    assert.match(stdout, /^ALLOWED/);
  });
});
