import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { formatAddress } from '../model/address.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { inOwnNetns } from './own-netns.ts';
import { ALLOW_ALL, Conversation, policy, testNode, TestPod, type TestNode } from './traffic-testbed.ts';

/** What holds a pod's programs: `filters` on its link, `links` of TCX. */
async function held(node: TestNode, { link, id }: TestPod): Promise<string[]> {
  using links = Rtnetlink.open();
  const filters = await Promise.all((['ingress', 'egress'] as const).map((hook) => links.filterAsync(link.hostIfIndex, hook))); // prettier-ignore
  const folder = path.join(node.bpfRoot, 'links', String(id));
  return [
    ...filters.flatMap((filter) => (filter === undefined ? [] : [filter.name])),
    ...(existsSync(folder) ? readdirSync(folder).sort() : []),
  ];
}

const FILTERS = ['weir_from_container', 'weir_to_container'];
const LINKS = ['from_container', 'to_container'];

const isAttached = async (node: TestNode, { link, netns }: TestPod): Promise<boolean> =>
  (await node.endpoints.linkStatus(link, `/proc/self/fd/${netns.fd}`)).attached;

if (inOwnNetns(import.meta.filename)) {
  describe("what holds endpoints' programs", () => {
    test('filters enforce at once, TCX links follow and lose no packet, and filters go', async () => {
      await using node = await testNode();
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      await using busy = await TestPod.create(node, 13);
      await a.install(policy('egress 0'));
      await b.install(policy(`ingress ${a.identity} 6/8080`, 'egress 0'));
      assert.deepEqual([await held(node, a), await held(node, b)], [FILTERS, FILTERS]);
      assert.deepEqual([await isAttached(node, a), await isAttached(node, b)], [true, true]);
      for (const to of b.addresses) assert.equal(await a.pings(formatAddress(to), 1), false);
      const talk = await Conversation.start(a, b, '10.1.0.12', 8080);
      await busy.install(ALLOW_ALL);
      await node.endpoints.settle();
      for (const pod of [a, b, busy]) {
        assert.deepEqual(await held(node, pod), LINKS);
        assert.equal(await isAttached(node, pod), true);
      }
      assert.equal(await talk.says('settled', 30_000), true);
      for (const to of b.addresses) assert.equal(await a.pings(formatAddress(to), 1), false);
    });

    test('an agent that is killed before leaves filters; the next one settles', async () => {
      const node = await testNode();
      // Cleans up in place of the first.
      await using successor = await testNode({ bpfRoot: node.bpfRoot });
      await using a = await TestPod.create(node, 11);
      const begun = await TestPod.create(node, 12);
      await a.install(policy('egress 0'));
      node[Symbol.dispose]();
      assert.deepEqual(await held(successor, a), FILTERS);
      assert.equal(await a.pings('10.1.0.1'), true);
      await a.moveTo(successor, policy('egress 0'));
      assert.deepEqual(await held(successor, a), LINKS);
      await successor.endpoints.prune(new Set([a.id]));
      assert.equal(await a.pings('10.1.0.1'), true);
      begun.netns.close();
    });

    test('one that is removed before leaves nothing', async () => {
      await using node = await testNode();
      await using other = await TestPod.create(node, 12);
      const a = await TestPod.create(node, 11);
      await a.install(ALLOW_ALL);
      await a[Symbol.asyncDispose]();
      using links = Rtnetlink.open();
      assert.equal(links.link(a.link.hostIfName), undefined);
      assert.deepEqual(readdirSync(path.join(node.bpfRoot, 'links')), ['node']);
      await other.install(ALLOW_ALL);
      await node.endpoints.settle();
      assert.deepEqual(await held(node, other), LINKS);
    });

    test('programs that nobody holds are not attached', async () => {
      await using node = await testNode();
      await using a = await TestPod.create(node, 11);
      await using other = await TestPod.create(node, 12);
      await a.install(ALLOW_ALL);
      using links = Rtnetlink.open();
      assert.equal(await links.removeFilters(a.link.hostIfIndex), true);
      assert.equal(await isAttached(node, a), false);
      await other.install(ALLOW_ALL);
      await node.endpoints.settle();
      assert.equal(await isAttached(node, a), true);
    });
  });
}
