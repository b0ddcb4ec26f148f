import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { FakeAgent } from '../testing/fake-agent.ts';
import { LiveNode } from './live-node.ts';
import { describeTrace, traceLive } from './trace.ts';

describe('weir policy trace at an agent', () => {
  let agent: FakeAgent;
  let node: LiveNode;
  before(async () => {
    agent = await FakeAgent.start();
    node = new LiveNode(new ApiClient(agent.socket));
  });
  after(() => agent[Symbol.asyncDispose]());

  const peers: readonly [string, number, string, boolean][] = [
    ['shop/client', 257, 'shop/client', true],
    ['2107', 257, 'shop/client', true],
    ['endpoint:42', 256, 'shop/web-0', true],
    ['identity:16777217', 16777217, 'identity:16777217', false],
    ['identity:256', 256, 'identity:256', true],
    ['app=web,namespace=shop', 256, 'app=web,namespace=shop', true],
    ['10.244.0.12', 257, '10.244.0.12 (shop/client)', true],
    ['fd00:10:244::7', 256, 'fd00:10:244::7 (shop/web-0)', true],
    ['203.0.113.9', 2, '203.0.113.9', false],
    ['host', 1, 'host', false],
    ['world', 2, 'world', false],
  ];
  for (const [text, id, name, isEndpoint] of peers) {
    test(`knows ${text}`, async () => {
      const peer = await node.findPeer(text, '--src');
      assert.deepEqual([peer.identity.id, peer.name, peer.isEndpoint], [id, name, isEndpoint]);
    });
  }

  const refusals: readonly [string, RegExp][] = [
    ['shop/nobody', /pods here are shop\/client, shop\/web-0/],
    ['endpoint:99', /no identity yet/],
    ['10.0.0.300', /is not an IP address/],
    ['namespace=shop', /2 identities have the labels.*identity:ID/s],
  ];
  for (const [text, expected] of refusals) {
    test(`refuses ${text}`, async () => {
      await assert.rejects(
        node.findPeer(text, '--src'),
        (error) => error instanceof WeirError && error.field === '--src' && expected.test(error.describe()),
      );
    });
  }

  test('asks for both ends, and tells of the one that denies', async () => {
    agent.questions.length = 0;
    const found = await traceLive(node, { source: 'shop/client', destination: 'shop/web-0', port: '80' });
    assert.deepEqual(
      agent.questions.map(({ direction, subject, peer, protocol, port }) =>
        [direction, subject, peer, protocol, port].join(' '),
      ),
      ['egress 257 256 6 80', 'ingress 256 257 6 80'],
    );
    assert.equal(found.allowed, false);
    const text = describeTrace(found, false);
    assert.match(text, /^DENIED: shop\/client -> shop\/web-0 TCP\/80\n/);
    assert.match(text, /nearest is CiliumNetworkPolicy shop\/web spec\.ingress\[0\]/);
  });

  test('judges only the ends that are here', async () => {
    agent.questions.length = 0;
    const found = await traceLive(node, { source: '203.0.113.9', destination: '42', port: 'tcp/80' });
    assert.deepEqual([found.egress, agent.questions.length], [undefined, 1]);
  });
});
