/**
 * Policies that change as fast as the agent can, under 20,000 packets a second of connections that began long before: no
 * packet goes another way than the policy in force says, and none is lost that both policies allow.
 *
 * `npm run test:flips` changes them 10,000 times; `npm test` a few hundred times.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiClient } from '../../../agent/api/client.ts';
import { tryRun } from '../../harness/exec.ts';
import { WeirNode } from '../../harness/node.ts';
import { podManifest, type Pod } from '../../harness/pod.ts';
import { createPods, policies, SENDERS, SUBJECTS, type Pods, type Side } from './flow.ts';
import { judge, type Window } from './judge.ts';
import { Load, wiresOf } from './load.ts';
import { EACH } from './load-protocol.ts';

const FLIPS = process.env['WEIR_FLIPS'] === 'full' ? 10_000 : 300;
const PACKETS_A_SECOND = 20_000;
/** Of the load, whatever happens: several times what it takes. */
const MAX_SECONDS = 120 + FLIPS / 25;
const SECONDS_OF_TRIAL = 3600;

test(`${FLIPS} changes of policy under load`, async (t) => {
  await using stack = new AsyncDisposableStack();
  // Half of the packets are dropped: the agent is to change policies, not to name each of them to whoever listens.
  const flags = ['--bpf-events-default-rate-limit', '100'];
  const node = stack.use(new WeirNode({ name: 'flips', flags }));
  for (const app of ['server', ...SENDERS]) node.manifest(`${app}.yaml`, podManifest(app, { app }));
  node.manifest('policy.yaml', policies('a'));
  await node.startAgent();
  const pods = await createPods(node, stack);
  const server = pods.get('server')!;
  const wires = wiresOf(pods);
  const policy = new Flipper(node, pods);
  await policy.begin();

  const load = stack.use(new Load(server));
  const before = socketDrops(server);
  const roundNs = (1e9 * EACH * wires.length) / PACKETS_A_SECOND;
  await load.start(server, wires, { roundNs, maxRounds: Math.ceil((MAX_SECONDS * 1e9) / roundNs) });
  const windows: Window[] = [];
  let from = now();
  const began = from;
  for (let flip = 0; flip <= FLIPS; flip++) {
    await load.round();
    windows.push({ side: policy.side, from, to: now() });
    if (flip < FLIPS) await policy.flip();
    from = now();
  }
  const seconds = (now() - began) / 1e9;
  const report = await load.stop();

  const { always, lost, judged, contrary, empty } = judge(report, wires, windows);
  const sent = report.rounds * EACH * wires.length;
  t.diagnostic(
    `${FLIPS} changes in ${seconds.toFixed(0)} s, ${sent} packets (${(sent / seconds).toFixed(0)}/s): ` +
      `${always} allowed by both policies, ${lost.length} lost; ${judged} under one policy, ${contrary.length} contrary to it`,
  );
  assert.equal(report.unsent, 0, 'packets that the kernel did not take');
  assert.equal(socketDrops(server) - before, 0, 'packets that a socket had no room for');
  assert.deepEqual(contrary.slice(0, 10), [], `${contrary.length} contrary to the policy in force`);
  assert.deepEqual(lost.slice(0, 10), [], `${lost.length} lost that both policies allow`);
  assert.equal(report.repeated, 0);
  assert.equal(empty, 0, 'packets were judged under every policy');
});

const now = (): number => Number(process.hrtime.bigint());

/** Changes the policies through the agent's API: B comes on trial in the place of A, and is taken back. */
class Flipper {
  side: Side = 'a';
  readonly #client: ApiClient;
  readonly #subjects: readonly string[];
  #revisions: readonly number[] = [];

  constructor(node: WeirNode, pods: Pods) {
    this.#client = new ApiClient(node.socket);
    this.#subjects = SUBJECTS.map((name) => `cni-attachment-id:${pods.get(name)!.containerId}:eth0`);
  }

  async begin(): Promise<void> {
    this.#revisions = await this.#realized();
  }

  /** Resolves when the endpoints that it is about have the other policy. */
  async flip(): Promise<void> {
    if (this.side === 'a') await this.#client.tryPolicies({ manifest: policies('b'), seconds: SECONDS_OF_TRIAL });
    else await this.#client.rollBackPolicies();
    const after = await this.#realized();
    for (const [i, revision] of after.entries())
      assert.ok(revision > this.#revisions[i]!, 'a later revision is realized');
    this.#revisions = after;
    this.side = this.side === 'a' ? 'b' : 'a';
  }

  async #realized(): Promise<readonly number[]> {
    const endpoints = await Promise.all(this.#subjects.map((id) => this.#client.endpoint(id)));
    return endpoints.map(({ status }) => status?.policy?.realized?.['policy-revision'] ?? 0);
  }
}

/** UDP datagrams that sockets of the pod's namespace did not take, for want of room or else. */
function socketDrops({ ns }: Pod): number {
  const lines = ['/proc/net/udp', '/proc/net/udp6'].flatMap((file) =>
    tryRun([...ns.enter, 'cat', file])
      .stdout.trim()
      .split('\n')
      .slice(1),
  );
  return lines.reduce((sum, line) => sum + Number(line.trim().split(/\s+/).at(-1)), 0);
}
