import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../../agent/model/address.ts';
import type { ApiClient } from '../../agent/k8s/apiserver/client.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { listAt, textAt } from '../../test/fakes/kube-apiserver/object.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { clientOf, configOf, contextOf, defineKinds } from '../testing.ts';
import { assign, type Ledger } from './assignment.ts';
import { overlaps } from './cidr-pool.ts';
import { ClusterPool, LEDGER } from './cluster-pool.ts';

const pools = configOf(
  ...[
    '--ipam',
    'cluster-pool',
    '--cluster-pool-ipv4-cidr',
    '10.0.0.0/28,10.1.0.0/29',
    '--cluster-pool-ipv4-mask-size',
    '30',
  ],
  ...['--cluster-pool-ipv6-cidr', 'fd00::/116'],
).clusterPool!;
const nothing: Ledger = new Map();
const nodes = (...entries: [string, string[]][]): Ledger => new Map(entries);

describe('who gets which pod CIDR', () => {
  test('one of each family, in turn, through all prefixes of the pool', () => {
    const many = nodes(...Array.from({ length: 7 }, (_, i): [string, string[]] => [`n${i}`, []]));
    const { ledger, errors } = assign(pools, nothing, many, new Set());
    assert.deepEqual(ledger.get('n0'), ['10.0.0.0/30', 'fd00::/120']);
    assert.deepEqual(ledger.get('n5'), ['10.1.0.4/30', 'fd00::500/120']);
    assert.match(errors.get('n6')!, /IPv4 pool is exhausted/);
  });

  test('what a node has is its own, also outside of the pool, unless it is another node’s', () => {
    const { ledger, errors } = assign(
      pools,
      new Map([['a', ['10.0.0.0/30', 'fd00::/120']]]),
      nodes(['a', []], ['b', ['192.0.2.0/24']], ['c', ['10.0.0.0/29']]),
      new Set(),
    );
    assert.deepEqual(ledger.get('a'), ['10.0.0.0/30', 'fd00::/120']);
    assert.deepEqual(ledger.get('b'), ['192.0.2.0/24', 'fd00::100/120']);
    assert.match(errors.get('c')!, /10\.0\.0\.0\/29 overlaps 10\.0\.0\.0\/30 of node a/);
  });

  test('what a gone node had is free again; what one that is away has is not', () => {
    const before = new Map([
      ['a', ['10.0.0.0/30']],
      ['b', ['10.0.0.4/30']],
    ]);
    const { ledger } = assign(pools, before, nodes(['c', []], ['d', []]), new Set(['a']));
    assert.deepEqual([ledger.get('c')![0], ledger.get('d')![0]], ['10.0.0.0/30', '10.0.0.8/30']);
    assert.ok(ledger.has('b'));
  });

  test('property: no two nodes ever overlap, and the ledger only grows but by those that are gone', () => {
    const event = fc.record({
      node: fc.integer({ min: 0, max: 8 }),
      act: fc.constantFrom('come', 'go', 'claim'),
      claim: fc.constantFrom('10.0.0.0/30', '10.0.0.8/29', '10.1.0.0/30', 'fd00::300/120'),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        let ledger: Ledger = new Map();
        const present = new Map<string, readonly string[]>();
        for (const { node, act, claim } of events) {
          const name = `n${node}`;
          const gone = new Set<string>();
          if (act === 'come') present.set(name, present.get(name) ?? []);
          else if (act === 'claim') present.set(name, [claim]);
          else if (present.delete(name)) gone.add(name);
          const next = assign(pools, ledger, present, gone);
          for (const [other, cidrs] of ledger)
            if (!gone.has(other)) for (const cidr of cidrs) assert.ok(next.ledger.get(other)!.includes(cidr));
          const all = [...next.ledger].flatMap(([owner, cidrs]) =>
            cidrs.map((cidr) => ({ owner, cidr: parseCidr(cidr) })),
          );
          for (const a of all) for (const b of all) assert.ok(a.owner === b.owner || !overlaps(a.cidr, b.cidr));
          ledger = next.ledger;
        }
      }),
    );
  });
});

describe('cluster pool', () => {
  let cluster: KubeApiServer;
  const stop = new AbortController();
  const clients: ApiClient[] = [];
  const running: Promise<void>[] = [];
  before(async () => {
    cluster = await new KubeApiServer({ tls: false }).start();
    defineKinds(cluster);
  });
  after(async () => {
    stop.abort();
    await Promise.all(running);
    for (const client of clients) client.close();
    await cluster.stop();
  });

  const run = (mask: string): void => {
    const config = configOf(
      '--ipam',
      'cluster-pool',
      '--cluster-pool-ipv4-cidr',
      '10.0.0.0/16',
      '--cluster-pool-ipv4-mask-size',
      mask,
    );
    const client = clientOf(cluster);
    clients.push(client);
    running.push(new ClusterPool(contextOf(client), config.clusterPool!, 'kube-system').run(stop.signal));
  };
  const node = (name: string, podCIDRs?: string[]): void =>
    void cluster.apply({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNode',
      metadata: { name },
      spec: podCIDRs === undefined ? {} : { ipam: { podCIDRs } },
    });
  const cidrs = (name: string): readonly unknown[] =>
    listAt(cluster.get('cilium.io/v2/ciliumnodes', name), 'spec', 'ipam', 'podCIDRs');

  test('two operators that both lead give every node its own', async () => {
    node('old', ['10.0.7.0/24']);
    run('24');
    run('24');
    const names = Array.from({ length: 60 }, (_, i) => `n${i}`);
    for (const name of names) {
      node(name);
      if (name.endsWith('5')) await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor('all nodes', () => names.every((name) => cidrs(name).length === 1));
    const all = ['old', ...names].map((name) => String(cidrs(name)[0]));
    assert.equal(new Set(all).size, all.length, 'two nodes have one prefix');
    assert.equal(cidrs('old')[0], '10.0.7.0/24');
    const ledger = cluster.get('v1/configmaps', LEDGER, 'kube-system');
    assert.equal(textAt(ledger, 'data', 'n3'), cidrs('n3')[0]);
  });

  test('a node that claims another’s is told so', async () => {
    node('thief', ['10.0.7.0/25']);
    const message = await waitFor(
      'the error',
      () =>
        textAt(cluster.get('cilium.io/v2/ciliumnodes', 'thief'), 'status', 'ipam', 'operator-status', 'error') ||
        undefined,
    );
    assert.match(message, /overlaps 10\.0\.7\.0\/24 of node old/);
  });
});
