/** Agents that crash, restart and bring new programs must not be felt by connections between nodes. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { TcxLink } from '../../agent/kernel/tcx.ts';
import { bpfPrograms, compileBpf, stripBpf } from '../../hack/bpf-compile.ts';
import { Cluster, type Member } from '../harness/cluster.ts';
import { start } from '../harness/exec.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { uniqueName } from '../harness/run.ts';
import { ANSWER_MS, SILENCE_MS } from '../harness/wait.ts';

const root = path.resolve(import.meta.dirname, '../..');
const PORT = 8080;

const MODES = [
  { name: 'tunnel', flags: ['--routing-mode', 'tunnel'] },
  { name: 'native', flags: ['--routing-mode', 'native', '--auto-direct-node-routes'] },
] as const;

/** Compiles the programs of another version: they differ in what they write into packets outside, and do the same. */
async function otherVersion(folder: string): Promise<string> {
  cpSync(path.join(root, 'bpf'), path.join(folder, 'bpf'), { recursive: true });
  const header = path.join(folder, 'bpf/lib/scratch.h');
  const text = readFileSync(header, 'utf8');
  const changed = text.replace('packet->hook = hook;', 'packet->hook = hook;\n\tpacket->hop_limit = 1;');
  assert.notEqual(changed, text);
  writeFileSync(header, changed);
  const objects = path.join(folder, 'objects');
  mkdirSync(objects);
  for (const name of bpfPrograms(folder)) {
    await compileBpf(path.join(folder, `bpf/${name}.c`), path.join(objects, `${name}.o`));
    await stripBpf(path.join(objects, `${name}.o`));
  }
  return objects;
}

for (const { name, flags } of MODES) {
  test(`crash, restart and new programs under connections across nodes, ${name}`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const folder = mkdtempSync(path.join(tmpdir(), `${uniqueName('upgrade')}-`));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const objects = await otherVersion(folder);
    const cluster = stack.use(await Cluster.start({ nodes: 2, flags }));
    const [one, two] = cluster.members as [Member, Member];
    for (const pod of ['client', 'server', 'stranger']) cluster.manifest(`${pod}.yaml`, podManifest(pod, { app: pod }));
    cluster.manifest('policy.yaml', serverPolicy('client'));
    const client = stack.use(await Pod.create(one.node, 'client'));
    const stranger = stack.use(await Pod.create(one.node, 'stranger'));
    const server = stack.use(await Pod.create(two.node, 'server'));
    await server.actor.do({ op: 'serve', port: PORT });
    await cluster.publish();
    const addresses = [server.ipv4, server.ipv6];
    const talks = await Promise.all(addresses.map((host) => Talk.open(client, host)));
    const pings = addresses.map((host) => ping(client, host));

    const denied = async (): Promise<void> => {
      const seen = await stranger.actor.do({ op: 'tcp', host: server.ipv4, port: PORT, timeoutMs: SILENCE_MS });
      assert.equal(seen, 'timeout');
    };
    await denied();
    await t.test('crash', async () => {
      for (const { node } of [one, two]) await node.stopAgent('SIGKILL');
      await denied();
      for (const { node } of [one, two]) await node.startAgent();
      await denied();
    });
    await t.test('new programs', async () => {
      const before = await programs([one, two]);
      for (const { node } of [one, two]) {
        await node.stopAgent('SIGTERM');
        await node.startAgent(['--bpf-objects', objects]);
      }
      const after = await programs([one, two]);
      for (const [i, id] of before.entries()) assert.notEqual(after[i], id, 'the program is another');
      await denied();
    });
    for (const talk of talks) assert.equal(await talk.end(), 'ok');
    for (const { sent, received } of await Promise.all(pings.map((each) => each.end()))) {
      assert.ok(sent > 100, `${sent} echo requests`);
      assert.equal(received, sent, 'echo replies');
    }
  });
}

/** Programs on the nodes' network devices, by number. */
async function programs(members: readonly Member[]): Promise<number[]> {
  return await Promise.all(
    members.map(async ({ node }) => {
      using link = TcxLink.openPinned(path.join(node.bpfRoot, 'links/node/eth0/from_netdev'));
      return (await link!.info()).programId;
    }),
  );
}

/** One connection on which a line goes back and forth until the end. */
class Talk {
  readonly #talking: Promise<string>;
  #ended = false;

  private constructor(pod: Pod, id: number) {
    this.#talking = this.#talk(pod, id);
  }

  static async open(pod: Pod, host: string): Promise<Talk> {
    const held = await pod.actor.do({ op: 'hold', host, port: PORT, timeoutMs: ANSWER_MS });
    assert.match(held, /^held /);
    return new Talk(pod, Number(held.slice(5)));
  }

  async end(): Promise<string> {
    this.#ended = true;
    return await this.#talking;
  }

  async #talk(pod: Pod, id: number): Promise<string> {
    while (!this.#ended) {
      const said = await pod.actor.do({ op: 'say', id, timeoutMs: ANSWER_MS });
      if (said !== 'ok') return said;
    }
    return 'ok';
  }
}

/** A hundred echo requests a second, until the end; the answers to the last of them may be under way then. */
function ping(pod: Pod, host: string): { end(): Promise<{ sent: number; received: number }> } {
  const child = start([...pod.ns.enter, 'ping', '-n', '-i', '0.01', host], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const closed = new Promise((resolve) => child.on('close', resolve));
  return {
    end: async () => {
      child.kill('SIGINT');
      await closed;
      const answered = Array.from(text.matchAll(/icmp_seq=(\d+) ttl=/g), ([, number]) => Number(number));
      return { sent: Math.max(0, ...answered), received: new Set(answered).size };
    },
  };
}
