import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress, type Address } from '../model/address.ts';
import { ManualClock } from '../model/manual-clock.ts';
import type { ClusterNode } from '../model/node.ts';
import { HealthChecker } from './checker.ts';
import { reachability } from './report.ts';

const MINUTE = 60_000;

function clusterNode(number: number): ClusterNode {
  return {
    name: `n${number}`,
    addresses: [
      { type: 'CiliumInternalIP', address: parseAddress(`10.0.${number}.1`) },
      { type: 'InternalIP', address: parseAddress(`192.0.2.${number}`) },
      { type: 'InternalIP', address: parseAddress(`2001:db8::${number}`) },
    ],
    podCidrs: [],
    health: [parseAddress(`10.0.${number}.4`)],
    ingress: [],
  };
}

/** A network in which all is well but what is in `silent`. */
class Bench {
  readonly clock = new ManualClock(1_000_000);
  readonly asked: string[] = [];
  readonly silent = new Set<string>();
  nodes: ClusterNode[];
  readonly checker: HealthChecker;

  constructor(count: number, families: readonly (4 | 6)[] = [4]) {
    this.nodes = Array.from({ length: count }, (_, i) => clusterNode(i + 1));
    const probe =
      (protocol: string) =>
      (address: Address): Promise<number> => {
        const text = formatAddress(address);
        this.asked.push(`${protocol} ${text}`);
        return this.silent.has(text) ? Promise.reject(new Error('silent')) : Promise.resolve(1000);
      };
    this.checker = new HealthChecker({
      ...{ self: 'n1', nodes: () => this.nodes, families, clock: this.clock, baseMs: MINUTE },
      probes: { icmp: probe('icmp'), http: probe('http') },
    });
  }

  reach(): string[] {
    return this.checker.report().nodes.map(({ name, host, endpoint }) => {
      return `${name} ${reachability(host)} ${reachability(endpoint)}`;
    });
  }
}

test('each address is asked by both protocols: the node by the address others reach it at, and its endpoint', async () => {
  const bench = new Bench(1, [4, 6]);
  await bench.checker.probeAll();
  assert.deepEqual(bench.asked.toSorted(), [
    'http 10.0.1.4',
    'http 192.0.2.1',
    'http 2001:db8::1',
    'icmp 10.0.1.4',
    'icmp 192.0.2.1',
    'icmp 2001:db8::1',
  ]);
});

test('newcomers soon, then every node once in an interval that grows with the logarithm of their number', async () => {
  const bench = new Bench(3);
  const interval = MINUTE * Math.log(4);
  bench.checker.start();
  assert.deepEqual(bench.reach(), ['n1 unknown unknown', 'n2 unknown unknown', 'n3 unknown unknown']);
  await bench.clock.advance(300);
  assert.deepEqual(bench.reach(), ['n1 reachable reachable', 'n2 reachable reachable', 'n3 reachable reachable']);
  bench.asked.length = 0;
  await bench.clock.advance(interval);
  const nodes = bench.asked.filter((text) => text.startsWith('icmp 192')).map((text) => text.at(-1));
  assert.deepEqual(nodes.toSorted(), ['1', '2', '3'], 'each once');
  assert.equal(bench.checker.intervalMs, interval);
  bench.checker.stop();
  bench.asked.length = 0;
  await bench.clock.advance(10 * interval);
  assert.deepEqual(bench.asked, []);
});

test('a thousand nodes are spread evenly', async () => {
  const bench = new Bench(0);
  bench.nodes = Array.from({ length: 1000 }, (_, i) => ({ ...clusterNode(1), name: `n${i}` }));
  bench.checker.start();
  await bench.clock.advance(1000 * 100);
  bench.asked.length = 0;
  await bench.clock.advance(10_000);
  // 1,000 nodes, four probes each, in 60 s × ln(1001): about 24 nodes in 10 s.
  assert.ok(bench.asked.length >= 92 && bench.asked.length <= 100, String(bench.asked.length));
  bench.checker.stop();
});

test('a node that goes silent is unreachable, and what is gone is forgotten', async () => {
  const bench = new Bench(3);
  bench.checker.start();
  await bench.clock.advance(300);
  bench.silent.add('192.0.2.2').add('10.0.3.4');
  await bench.clock.advance(MINUTE * Math.log(4));
  assert.deepEqual(bench.reach(), ['n1 reachable reachable', 'n2 unreachable reachable', 'n3 reachable unreachable']);
  const [, second] = bench.checker.report().nodes;
  assert.equal(second!.host[0]!.icmp!.kind === 'failed' && second!.host[0]!.icmp!.message, 'silent');
  bench.nodes = bench.nodes.filter(({ name }) => name !== 'n2');
  bench.checker.nodesChanged();
  assert.deepEqual(bench.reach(), ['n1 reachable reachable', 'n3 reachable unreachable']);
  // It comes back with another address: nothing of the old one is said of it.
  bench.nodes.push({ ...clusterNode(4), name: 'n3' });
  bench.nodes.splice(1, 1);
  assert.deepEqual(bench.reach(), ['n1 reachable reachable', 'n3 unknown unknown']);
  bench.checker.stop();
});

test('whoever asks while all are probed waits for the same probes', async () => {
  const bench = new Bench(2);
  const [a, b] = await Promise.all([bench.checker.probeAll(), bench.checker.probeAll()]);
  assert.deepEqual(a, b);
  assert.equal(bench.asked.length, 8);
  assert.equal(a.at, bench.clock.now());
});
