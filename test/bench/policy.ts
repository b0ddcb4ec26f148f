/** The policy engine: CPU time per operation and memory, beside what a peer's engine takes for the same work. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { identityId } from '../../agent/model/identity.ts';
import { decodePolicy } from '../../agent/policy/api/index.ts';
import { DEFAULT_POLICY_CONFIG } from '../../agent/policy/config.ts';
import type { EndpointPolicy, PolicyBatch, PolicyEngine } from '../../agent/policy/contract.ts';
import { createPolicyEngine } from '../../agent/policy/engine.ts';
import { reservedIdentities } from '../../agent/policy/evaluate.ts';
import { corpus, FIRST_POD, newcomer, pods, policies, SUBJECT, type Mix } from './policy-inputs.ts';
import { median, type Bench } from './suite.ts';

/** CPU milliseconds per operation of Cilium's engine (1.20-pre, Go 1.26) on a machine of this kind. */
const PEER = {
  'parse, 1,000 policies': 47.3,
  'parse, 10,000 policies': 383,
  'load, 1,000 policies': 4.4,
  'load, 10,000 policies': 95.9,
  'narrow, cold': 15.0,
  'narrow, warm': 4.5,
  'narrow, distill': 2.1,
  'wide, cold': 92.5,
  'wide, warm': 48.2,
  'wide, distill': 40.8,
  'mixed, cold': 68.3,
  'mixed, warm': 31.6,
  'mixed, distill': 24.2,
  'mixed, 10,000 policies, cold': 418,
  'add 1 identity': 0.313,
  'remove 1 identity': 0.238,
  'add 100 identities': 13.4,
  'remove 100 identities': 6.0,
  'lookup, narrow': 478e-6,
  'lookup, wide': 575e-6,
  'lookup, mixed': 440e-6,
} as const;

type Row = keyof typeof PEER;
/** The mixes that are resolved as a whole. */
type WholeMix = Exclude<Mix, 'incremental'>;

const ALL_PODS = pods(10_000);

export const bench: Bench = {
  name: 'policy',
  title: "the policy engine, CPU time per operation, Cilium's 1.20-pre engine beside it",
  run: (print) => {
    const report = reporter(print);
    print(
      `${'row'.padEnd(32)}${'best'.padStart(12)}${'median'.padStart(12)}${'peer'.padStart(12)}${'ratio'.padStart(10)}`,
    );
    parsing(report);
    loading(report);
    for (const mix of ['narrow', 'wide', 'mixed'] as const) resolving(mix, report);
    report('mixed, 10,000 policies, cold', () => coldRun('mixed', 10_000), { samples: 5 });
    incremental(report);
    for (const mix of ['narrow', 'wide', 'mixed'] as const) lookups(mix, report);
    memory(print);
    return Promise.resolve();
  },
};

/** Prepares an operation outside the measurement; gives what is measured, and how many operations that is. */
type Prepare = () => { readonly run: () => unknown; readonly operations?: number };
type Report = (row: Row, prepare: Prepare, options?: { readonly samples?: number }) => void;

/** An agent runs for weeks: what counts is code that the compiler has seen. CPU milliseconds, and runs at least. */
const WARM_UP = { cpu: 1_500, runs: 4 };
/** A sample is so many CPU milliseconds that it pays its share of the garbage collection. */
const SAMPLE = { cpu: 60, runs: 1 };

/** CPU milliseconds per operation, of the whole process, over as many runs as it takes. */
function measure(prepare: Prepare, least: { readonly cpu: number; readonly runs: number }): number {
  let [cpu, done, runs] = [0, 0, 0];
  while (cpu < least.cpu || runs < least.runs) {
    const { run, operations = 1 } = prepare();
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    cpu += (user + system) / 1000;
    done += operations;
    runs++;
  }
  return cpu / done;
}

function reporter(print: (line: string) => void): Report {
  return (row, prepare, { samples = 15 } = {}) => {
    measure(prepare, WARM_UP);
    const times = Array.from({ length: samples }, () => measure(prepare, SAMPLE));
    const found = median(times);
    const ratio = `${(PEER[row] / found).toFixed(1)}x`;
    const columns = [duration(Math.min(...times)), duration(found), duration(PEER[row])];
    print(`${row.padEnd(32)}${columns.map((text) => text.padStart(12)).join('')}${ratio.padStart(10)}`);
  };
}

function duration(ms: number): string {
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return ms >= 1e-3 ? `${(ms * 1e3).toFixed(1)} µs` : `${(ms * 1e6).toFixed(0)} ns`;
}

function parsing(report: Report): void {
  const texts = corpus(10_000).map((object) => JSON.stringify(object));
  for (const [row, count] of [
    ['parse, 1,000 policies', 1_000],
    ['parse, 10,000 policies', 10_000],
  ] as const) {
    const some = texts.slice(0, count);
    report(row, () => ({ run: () => some.map((text) => decodePolicy(JSON.parse(text)).rules) }));
  }
}

function loading(report: Report): void {
  for (const [row, count] of [
    ['load, 1,000 policies', 1_000],
    ['load, 10,000 policies', 10_000],
  ] as const) {
    const [batch, next] = [decoded(corpus(count)), decoded(corpus(count))];
    const engine = engineWith({});
    engine.apply({ policies: batch });
    report(row, () => ({ run: () => engine.apply({ policies: next, replaceAllPolicies: true }) }));
  }
}

function decoded(objects: readonly unknown[]): NonNullable<PolicyBatch['policies']> {
  return objects.map((object, i) => ({ key: String(i), rules: decodePolicy(object).rules }));
}

function engineWith(batch: PolicyBatch): PolicyEngine {
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG);
  engine.apply({ ...batch, identities: [...reservedIdentities(), ...ALL_PODS] });
  return engine;
}

/** Lists the map: the kernel wants every entry. */
function list(policy: EndpointPolicy): number {
  let count = 0;
  for (const _entry of policy.mapState.entries()) count++;
  return count;
}

function coldRun(mix: Mix, count: number): ReturnType<Prepare> {
  const engine = engineWith({ policies: decoded(policies(mix, count)) });
  return { run: () => list(engine.endpointPolicy({ identity: SUBJECT })) };
}

function resolving(mix: WholeMix, report: Report): void {
  report(`${mix}, cold`, () => coldRun(mix, 1_000));
  // A policy that says nothing new makes the subject's rules be resolved again, with every selector known.
  const rules = decoded(policies(mix, 1_000));
  const engine = engineWith({ policies: rules });
  engine.endpointPolicy({ identity: SUBJECT });
  const touch = rules.slice(0, 1);
  report(`${mix}, warm`, () => ({
    run: () => {
      engine.apply({ policies: touch });
      for (const _turn of engine.refresh());
      const policy = engine.endpointPolicy({ identity: SUBJECT });
      list(policy);
      policy.dispose();
    },
  }));
  // Other ports by name on the endpoint: the rules are resolved, only the entries are made.
  let n = 0;
  const named = engineWith({ policies: [...rules, ...namedPortPolicy()] });
  named.endpointPolicy({ identity: SUBJECT });
  report(`${mix}, distill`, () => ({
    run: () => {
      const namedPorts = [{ name: 'bench', port: 20000 + n++, protocol: 6 }];
      const policy = named.endpointPolicy({ identity: SUBJECT, namedPorts });
      list(policy);
      policy.dispose();
    },
  }));
}

function namedPortPolicy(): NonNullable<PolicyBatch['policies']> {
  const ports = [{ port: 'bench', protocol: 'TCP' }];
  const spec = { endpointSelector: { matchLabels: { app: 'app-0' } }, ingress: [{ toPorts: [{ ports }] }] };
  const metadata = { name: 'named', namespace: 'ns-0' };
  return [
    {
      key: 'named',
      rules: decodePolicy({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec }).rules,
    },
  ];
}

function incremental(report: Report): void {
  const engine = engineWith({ policies: decoded(policies('incremental', 1_000)) });
  let changes = 0;
  engine.endpointPolicy({
    identity: SUBJECT,
    onChange: ({ size }) => (changes += size),
  });
  for (const [label, size] of [
    ['1 identity', 1],
    ['100 identities', 100],
  ] as const) {
    // Few enough at a time that the cluster stays about as big as it was.
    const rounds = Math.max(5, 50 / size);
    const batches = Array.from({ length: rounds }, (_, r) =>
      Array.from({ length: size }, (_, i) => newcomer(r * size + i)),
    );
    const add = (): void => batches.forEach((identities) => engine.apply({ identities }));
    const remove = (): void =>
      batches.forEach((batch) => engine.apply({ removedIdentities: batch.map(({ id }) => id) }));
    // The other half of each pair runs outside the measurement.
    report(`add ${label}`, () => (remove(), { run: add, operations: rounds }));
    report(`remove ${label}`, () => (add(), { run: remove, operations: rounds }));
  }
  if (changes === 0) throw new Error('the incremental rows changed nothing');
}

function lookups(mix: WholeMix, report: Report): void {
  const engine = engineWith({ policies: decoded(policies(mix, 1_000)) });
  const { mapState } = engine.endpointPolicy({ identity: SUBJECT });
  const ports = [80, 443, 8080, 1000, 1037, 1399, 53, 9];
  const keys = Array.from({ length: 65_536 }, (_, i) => {
    const random = Math.imul(i + 1, 0x9e3779b1) >>> 0;
    return {
      direction: random & 1 ? ('ingress' as const) : ('egress' as const),
      identity: identityId(FIRST_POD + (random % 10_000)),
      protocol: (random >>> 8) % 4 === 0 ? 17 : 6,
      port: ports[(random >>> 12) % ports.length]!,
    };
  });
  report(`lookup, ${mix}`, () => ({
    run: () => {
      for (const { direction, identity, protocol, port } of keys) mapState.lookup(direction, identity, protocol, port);
    },
    operations: keys.length,
  }));
}

/** What a million map entries take: the mix `wide` for as many endpoints as it needs. */
function memory(print: (line: string) => void): void {
  const engine = engineWith({ policies: decoded(policies('wide', 1_000)) });
  const before = heap();
  const held: EndpointPolicy[] = [];
  let entries = 0;
  while (entries < 1_000_000) {
    const policy = engine.endpointPolicy({ identity: identityId(FIRST_POD + 200 * held.length) });
    entries += policy.mapState.size;
    held.push(policy);
  }
  const mib = (heap() - before) / 2 ** 20;
  print(
    `${entries.toLocaleString('en')} map entries of ${held.length} endpoints of as many identities: ${mib.toFixed(1)} MiB`,
  );
}

function heap(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
