/**
 * The agent is killed while pods ask for names. The proxy in a process of its own does not notice; the one inside the agent
 * goes with it, and comes back with it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { DnsProxyProcess, dnsProxyFlags } from '../harness/dns-proxy.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { runAsync, tryRun } from '../harness/exec.ts';
import { WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { uniqueName } from '../harness/run.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

const ZONE = 'cilium.io.';
const PORT = 8080;
const NAMES = 250;
/** Asked for only while the agent is away. */
const NEW_NAME = { name: `later.${ZONE}`, address: '198.18.9.9' } as const;
const RATE = 5_000;
/** Seconds of one run of queries, and until one of them counts as lost. */
const RUN = { length: 5, timeout: 30 } as const;

const POLICY = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: names, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toCIDR: [${WORLD_ADDRESSES.v4}/32]
      toPorts:
        - ports: [{ port: "53", protocol: UDP }]
          rules: { dns: [{ matchPattern: "*.cilium.io" }] }
    - toFQDNs: [{ matchPattern: "*.cilium.io" }]
      toPorts: [{ ports: [{ port: "${PORT}", protocol: TCP }] }]
`;

/** What became of one run of queries. */
interface QueryRun {
  readonly sent: number;
  /** Lost, or answered with something else than an address. */
  readonly failed: number;
  readonly output: string;
}

interface Asking {
  stopped: boolean;
  done: Promise<readonly QueryRun[]>;
}

function udpCounters(enter: readonly string[]): string {
  const snmp = tryRun([...enter, 'cat', '/proc/net/snmp']).stdout;
  return snmp
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .join('\n');
}

/** A node whose pod may ask for names, and connect to what it learns. */
class Scene implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly node: WeirNode;
  readonly queries: string;
  pod!: Pod;

  constructor(name: string, flags: (node: WeirNode) => readonly string[]) {
    this.node = this.#stack.use(new WeirNode({ name, flags }));
    const dir = mkdtempSync(path.join(tmpdir(), `${uniqueName(name)}-`));
    this.#stack.defer(() => rmSync(dir, { recursive: true }));
    this.queries = path.join(dir, 'queries');
    writeFileSync(this.queries, Array.from({ length: NAMES }, (_, i) => `n${i}.${ZONE} A\n`).join(''));
  }

  async start(proxy: boolean): Promise<void> {
    const { node } = this;
    const { world } = node;
    node.manifest('client.yaml', podManifest('client', { app: 'client' }));
    node.manifest('policy.yaml', POLICY);
    world.ip('route add local 198.18.0.0/16 dev lo');
    node.ns.ip(`route add 198.18.0.0/16 via ${WORLD_ADDRESSES.v4}`);
    const records = Array.from({ length: NAMES }, (_, i) => `n${i}.${ZONE} 300 A 198.18.1.${i + 1}`);
    records.push(`${NEW_NAME.name} 300 A ${NEW_NAME.address}`);
    const addresses = [WORLD_ADDRESSES.v4];
    this.#stack.use(await DnsServerProcess.start(world, { kind: 'unbound', zone: ZONE, records, addresses }));
    const server = this.#stack.use(await Actor.start(world));
    await server.do({ op: 'serve', port: PORT });
    await node.startAgent();
    if (proxy) this.#stack.use(await DnsProxyProcess.start(node));
    this.pod = this.#stack.use(await Pod.create(node, 'client'));
    await waitFor('the first answer', () => this.resolves(`n0.${ZONE}`, 3));
  }

  /** Whether the pod's query for `name` is answered within so many seconds. */
  resolves(name: string, seconds = ANSWER_MS / 1000): boolean {
    const words = [`@${WORLD_ADDRESSES.v4}`, '+short', `+time=${seconds}`, '+tries=1', name];
    return tryRun([...this.pod.ns.enter, 'dig', ...words]).stdout.startsWith('198.18.');
  }

  /** Datagrams that the pod has been sent so far. */
  received(): number {
    return Number(/^Udp: (\d+)/m.exec(udpCounters(this.pod.ns.enter))?.[1]);
  }

  async connects(host: string): Promise<string> {
    return await this.pod.actor.do({ op: 'tcp', host, port: PORT, timeoutMs: ANSWER_MS });
  }

  /** Asks, one run of queries after the other, until it is told to stop. */
  startAsking(): Asking {
    const asking: Asking = { stopped: false, done: Promise.resolve([]) };
    asking.done = (async () => {
      const runs: QueryRun[] = [];
      while (!asking.stopped) runs.push(await this.#ask());
      return runs;
    })();
    return asking;
  }

  async #ask(): Promise<QueryRun> {
    const how = ['-s', WORLD_ADDRESSES.v4, '-d', this.queries, '-l', String(RUN.length), '-Q', String(RATE)];
    // Its buffer holds all answers that can be under way, also while it does not get to read them.
    const patience = ['-t', String(RUN.timeout), '-b', '1024'];
    const { stdout } = await runAsync([...this.pod.ns.enter, 'dnsperf', ...how, ...patience]);
    const count = (what: string): number => Number(new RegExp(`${what}:?\\s+(\\d+)`).exec(stdout)?.[1] ?? 0);
    const [sent, good] = [count('Queries sent'), count('NOERROR')];
    return { sent, failed: sent - good, output: stdout };
  }

  /** What the kernel and the proxy say about datagrams that went missing. */
  complaints(): string {
    const { pod, node } = this;
    const read = (file: string): string => tryRun(['tail', '-n', '20', path.join(node.dir, file)]).stdout;
    const counters = [pod.ns, node.ns, node.world].map(({ enter }) => udpCounters(enter));
    return ['of the pod, the node and the world:', ...counters, read('dns-proxy.log'), node.logTail()].join('\n');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

test(`kill -9 of the agent under load, with the proxy in a process of its own: no query fails`, async (t) => {
  await using scene = new Scene('dns-outage', dnsProxyFlags);
  await scene.start(true);
  const { node } = scene;
  const before = scene.received();
  const asking = scene.startAsking();
  await waitFor('queries under way', () => scene.received() > before + 500);
  await node.stopAgent('SIGKILL');
  assert.equal(await scene.connects('198.18.1.1'), 'ok', 'a name that is known keeps connecting');
  assert.ok(scene.resolves(NEW_NAME.name));
  assert.equal(
    await scene.connects(NEW_NAME.address),
    'ok',
    'the proxy gave its address the identity of its selectors',
  );
  await node.startAgent();
  asking.stopped = true;
  const runs = await asking.done;
  const [sent, failed] = [runs.reduce((sum, run) => sum + run.sent, 0), runs.reduce((sum, run) => sum + run.failed, 0)];
  t.diagnostic(`${sent} queries sent, ${failed} failed`);
  assert.equal(failed, 0, `${runs.map(({ output }) => output).join('\n')}\n${scene.complaints()}`);
  assert.ok(sent > 500);
  assert.equal(await scene.connects(NEW_NAME.address), 'ok', 'the agent has caught up');
  const { stdout } = await node.weir('fqdn', 'cache', 'list');
  assert.match(stdout, new RegExp(NEW_NAME.name.replaceAll('.', '\\.')));
});

test('kill -9 of the agent with the proxy inside: no answer until the agent is back, and then as before', async (t) => {
  await using scene = new Scene('dns-inside', () => []);
  await scene.start(false);
  const { node } = scene;
  await node.stopAgent('SIGKILL');
  assert.ok(!scene.resolves(`n1.${ZONE}`, 1), 'nobody takes the query, and nothing goes past the policy');
  assert.equal(await scene.connects('198.18.1.1'), 'ok', 'what was learned stays open');
  const started = performance.now();
  await node.startAgent();
  t.diagnostic(
    `from the start of the agent until it said that it is ready: ${Math.round(performance.now() - started)} ms`,
  );
  assert.ok(scene.resolves(`n2.${ZONE}`), 'an agent that says that it is ready has its proxy');
  assert.equal(await scene.connects('198.18.1.3'), 'ok');
});
