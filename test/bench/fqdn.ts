/** What endpoints learn from DNS: CPU time and memory, beside the same answers from plain maps of sets. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parseAddress, type Address } from '../../agent/model/address.ts';
import { endpointId } from '../../agent/model/endpoint.ts';
import { DEFAULT_NAME_LIMITS, NameCache } from '../../agent/fqdn/namecache.ts';
import { AgentNames } from './fqdn-agent.ts';
import { NaiveNames } from './fqdn-naive.ts';
import { median, ratios, type Bench } from './suite.ts';

const ENDPOINTS = 1_000;
const NAMES = 10_000;
/** Names that one endpoint asks for. */
const NAMES_PER_ENDPOINT = 50;
const TTL = 5;
const ROUNDS = 3;
/** Nine patterns in ten, one name in ten. */
const SELECTORS = [
  ...Array.from({ length: 90 }, (_, i) => ({ matchPattern: `*.zone${i}.example.com` })),
  ...Array.from({ length: 10 }, (_, i) => ({ matchName: `n${i * 7}.zone${i * 7}.example.com` })),
];

export const bench: Bench = {
  name: 'fqdn',
  title: `${ENDPOINTS.toLocaleString('en')} endpoints, ${NAMES.toLocaleString('en')} names, addresses that rotate at a TTL of ${TTL} s`,
  run: async (print) => {
    const [cache, naive, answers] = [new CacheRun(), new NaiveRun(), new Answers()];
    const [ours, theirs]: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      const batch = answers.round(round);
      ours.push(cpu(() => cache.learn(batch)) / batch.length);
      theirs.push(cpu(() => naive.learn(batch)) / batch.length);
      print(`round ${round + 1}: ${cache.text()}`);
      cache.endRound();
      naive.endRound();
    }
    const us = (list: readonly number[]): string => `${(median(list) * 1e3).toFixed(1)} µs`;
    print(`learn an answer and tell the changes: ${us(ours)}, maps of sets ${us(theirs)}: ${ratios(ours, theirs)}`);
    rotating(print);
    memory(print, answers);
    await wholeAgent(print, answers, ours);
    await churn(print);
  },
};

interface Answer {
  readonly endpoint: number;
  readonly name: string;
  readonly addresses: readonly Address[];
  readonly texts: readonly string[];
}

/** Every endpoint asks for its names once a round; a name has four addresses of a pool of sixteen, others each round. */
class Answers {
  readonly #pools = Array.from({ length: NAMES }, (_, name) =>
    Array.from({ length: 16 }, (_, i) => `100.${64 + (name >> 12)}.${(name >> 4) & 255}.${((name & 15) << 4) | i}`).map(
      (text) => ({ text, address: parseAddress(text) }),
    ),
  );

  round(round: number): readonly Answer[] {
    return Array.from({ length: ENDPOINTS * NAMES_PER_ENDPOINT }, (_, i) => {
      const endpoint = i % ENDPOINTS;
      const name = (endpoint * 37 + Math.floor(i / ENDPOINTS) * 101) % NAMES;
      const found = Array.from({ length: 4 }, (_, k) => this.#pools[name]![(round * 4 + k) % 16]!);
      return {
        endpoint,
        name: `n${name}.zone${name % 200}.example.com.`,
        addresses: found.map(({ address }) => address),
        texts: found.map(({ text }) => text),
      };
    });
  }
}

class CacheRun {
  now = 1_700_000_000_000;
  changes = 0;
  readonly cache = new NameCache({
    clock: { now: () => this.now },
    minTtl: 0,
    limits: DEFAULT_NAME_LIMITS,
    admits: () => true,
  });

  constructor() {
    this.cache.select(SELECTORS);
  }

  learn(batch: readonly Answer[]): void {
    for (const { endpoint, name, addresses } of batch) {
      this.changes += this.cache.learn(endpointId(endpoint), name, addresses, TTL).length;
    }
  }

  /** The TTL ends, then a conntrack collection sees nothing. */
  endRound(): void {
    this.now += TTL * 1000;
    this.cache.expire();
    this.now += 1000;
    this.changes += this.cache.collected(this.now, () => false).length;
  }

  text(): string {
    const { names, addresses } = this.cache.size;
    return `${this.changes} changes so far; ${names} names and ${addresses} addresses held`;
  }
}

/** Matches every selector for every answer, and keeps a set for every address. */
class NaiveRun {
  readonly naive = new NaiveNames();
  readonly state = new Map<string, Set<string>>();

  constructor() {
    this.naive.select(SELECTORS);
  }

  learn(batch: readonly Answer[]): void {
    for (const { endpoint, name, texts } of batch) {
      this.naive.learn(endpoint, name, texts, TTL);
      const selectors = this.naive.selectorsOf(name);
      for (const text of texts) {
        const set = this.state.get(text) ?? new Set();
        for (const selector of selectors) set.add(selector);
        this.state.set(text, set);
      }
    }
  }

  endRound(): void {
    this.naive.collect(() => false);
    this.state.clear();
  }
}

/** One name with a thousand addresses that change with every answer, for an hour of simulated time. */
function rotating(print: (line: string) => void): void {
  const run = new CacheRun();
  const pool = Array.from({ length: 4_000 }, (_, i) => parseAddress(`100.99.${i >> 8}.${i & 255}`));
  const answers = 3600 / TTL;
  let peak = 0;
  const spent = cpu(() => {
    for (let i = 0; i < answers; i++) {
      const addresses = Array.from({ length: 1_000 }, (_, k) => pool[(i * 997 + k) % pool.length]!);
      run.cache.learn(endpointId(1), 'n0.zone0.example.com.', addresses, TTL);
      peak = Math.max(peak, run.cache.size.addresses);
      run.endRound();
    }
  });
  print(
    `a name with 1,000 rotating addresses, an hour: ${((spent / answers) * 1e3).toFixed(0)} µs an answer, at most ${peak} addresses held`,
  );
}

/** The same answers with identities, ipcache and the file on disk, on memory instead of a kernel. */
async function wholeAgent(
  print: (line: string) => void,
  answers: Answers,
  cacheAlone: readonly number[],
): Promise<void> {
  await using agent = await AgentNames.open(SELECTORS);
  const spent: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const batch = answers.round(round);
    spent.push((await cpuOf(() => agent.learn(batch, TTL))) / batch.length);
    await agent.pass(TTL + 6);
  }
  const us = `${(median(spent) * 1e3).toFixed(1)} µs`;
  print(
    `the agent's side of an answer, identities and ipcache included: ${us}: ${ratios(spent, cacheAlone)} of the cache`,
  );
}

/** An hour of a name with a thousand rotating addresses, in the whole agent: nothing may grow. */
async function churn(print: (line: string) => void): Promise<void> {
  await using agent = await AgentNames.open(SELECTORS);
  const pool = Array.from({ length: 4_000 }, (_, i) => parseAddress(`100.99.${i >> 8}.${i & 255}`));
  const answers = 3600 / TTL;
  const halves: number[] = [];
  let spent = 0;
  for (let i = 0; i < answers; i++) {
    const addresses = Array.from({ length: 1_000 }, (_, k) => pool[(i * 997 + k) % pool.length]!);
    spent += await cpuOf(async () => {
      await agent.learn([{ endpoint: 1, name: 'n0.zone0.example.com.', addresses }], TTL);
      await agent.pass(TTL + 6);
    });
    if (i % (answers / 2) === answers / 2 - 1) halves.push(heapNow());
  }
  const { addresses, identities, ipcache } = agent.counts;
  const [half = 0, whole = 0] = halves.map((bytes) => bytes / 1e6);
  print(
    `the same hour in the agent: ${(spent / answers).toFixed(1)} ms an answer of 1,000 addresses; in the end ${addresses} addresses, ` +
      `${identities} identities, ${ipcache} ipcache entries; heap ${half.toFixed(0)} MB after half of it, ${whole.toFixed(0)} MB after all`,
  );
}

function memory(print: (line: string) => void, answers: Answers): void {
  const batch = answers.round(0);
  const leases = batch.length * 4;
  const [cache, naive] = [new CacheRun(), new NaiveRun()];
  const cacheBytes = heap(() => cache.learn(batch));
  const naiveBytes = heap(() => naive.learn(batch));
  // Both must be there until both are measured.
  cache.endRound();
  naive.endRound();
  const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  print(
    `memory for ${leases.toLocaleString('en')} leases: ${mb(cacheBytes)}, ${Math.round(cacheBytes / leases)} B each; ` +
      `maps of sets ${mb(naiveBytes)}: ${(cacheBytes / naiveBytes).toFixed(2)}x`,
  );
}

/** CPU milliseconds. */
function cpu(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** As {@link cpu}, of what takes turns. */
async function cpuOf(run: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Bytes that `fill` leaves on the heap. */
function heap(fill: () => void): number {
  const before = heapNow();
  fill();
  return heapNow() - before;
}

/** Bytes on the heap that something refers to. */
function heapNow(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
