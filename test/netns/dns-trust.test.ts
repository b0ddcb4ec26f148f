/** What the DNS proxy does not believe, and what it does not put up with. */
import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Netns as KernelNetns } from '../../agent/kernel/netns.ts';
import { closeFile } from '../../agent/kernel/libc.ts';
import { connectSocket, openSocket } from '../../agent/kernel/socket.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { encodeQuery } from '../../dns-proxy/message/answer.ts';
import { frame, FrameSplitter } from '../../dns-proxy/message/framing.ts';
import { WORLD, WORLD_IDENTITY, type WiredPod } from '../datapath/wired-node.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { start, stop } from '../harness/exec.ts';
import { ANSWER_MS, PATIENCE_MS, waitFor } from '../harness/wait.ts';
import { dig, DnsScene } from './dns-scene.ts';

const LIMITS = { concurrencyPerEndpoint: 2, connectionsPerEndpoint: 2, idleTimeoutMs: 4_000, upstreamTimeoutMs: 6_000 };
/** Where an honest server is, over TCP. */
const HONEST = 5303;
const TRUTH = '198.51.100.7';
const LIE = '203.0.113.66';

let scene: DnsScene;
let pod: WiredPod;

before(async () => {
  scene = await DnsScene.start(LIMITS);
  const { wired, stack } = scene;
  pod = wired.addPod({ id: 71, identity: 1071, ipv4: '10.0.0.71', ipv6: 'fd00::71' });
  const program = path.join(import.meta.dirname, '../harness/lying-server.ts');
  const liar = start([...wired.world.enter, process.execPath, program, WORLD.ipv4], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  stack.defer(() => stop(liar, 'SIGKILL'));
  await new Promise((resolve) => liar.stdout!.once('data', resolve));
  const records = ['www.example.com. 60 A 198.51.100.1'];
  const honest = { kind: 'knot', port: HONEST, zone: 'example.com.', records, addresses: [WORLD.ipv4] } as const;
  stack.use(await DnsServerProcess.start(wired.world, honest));
  const names = [{ matchPattern: '*.example.com' }];
  const peers = [WORLD_IDENTITY.ipv4];
  scene.divert(pod, [
    { port: 53, peers, names },
    { port: HONEST, peers, names },
  ]);
});
after(() => scene[Symbol.asyncDispose]());

function learned(name: string): readonly string[] {
  return scene.agent.answers.filter((answer) => answer.name === name).flatMap(({ addresses }) => addresses);
}

describe('what a server says is not believed', () => {
  for (const [lie, why] of [
    ['id', 'under another number'],
    ['question', 'of another question'],
    ['port', 'from another port'],
    ['unsolicited', 'a second time'],
  ] as const) {
    test(`${why}: the true answer comes through`, async () => {
      const name = `${lie}.example.com`;
      assert.equal(await dig(pod, WORLD.ipv4, '+short', name), `${TRUTH}\n`);
      await waitFor('the lesson', () => learned(`${name}.`).length > 0);
      assert.deepEqual(learned(`${name}.`), [TRUTH]);
    });
  }

  test('of a name that nobody asked for', async () => {
    assert.match(await dig(pod, WORLD.ipv4, 'bailiwick.example.com'), new RegExp(LIE.replaceAll('.', '\\.')));
    await waitFor('the lesson', () => learned('bailiwick.example.com.').length > 0);
    assert.deepEqual(learned('bailiwick.example.com.'), [TRUTH]);
    assert.deepEqual(learned('www.example.com.'), []);
  });

  test('when it is damaged', async () => {
    await dig(pod, WORLD.ipv4, 'damaged.example.com');
    assert.deepEqual(learned('damaged.example.com.'), []);
  });

  test('and all of it is counted', async () => {
    await waitFor('the counts', () => (scene.agent.counts?.unsolicited ?? 0) >= 4);
    assert.ok(!scene.agent.answers.some(({ addresses }) => addresses.includes(LIE)));
  });
});

test('queries beyond the limit are answered SERVFAIL at once, and room is made when servers are too slow', async () => {
  const slow = ['a', 'b', 'c'].map((c) =>
    dig(pod, WORLD.ipv4, '+time=5', 'slow.example.com', `+qid=${c.charCodeAt(0)}`),
  );
  const answers = await Promise.all(slow);
  assert.equal(answers.filter((text) => text.includes('status: SERVFAIL')).length, 1, answers.join('\n'));
  await waitFor('room', async () => (await dig(pod, WORLD.ipv4, '+short', 'id.example.com')) === `${TRUTH}\n`);
  await waitFor('the counts', () => (scene.agent.counts?.timeouts ?? 0) >= 2 && scene.agent.counts!.overloaded >= 1);
});

/** A TCP connection of the pod to the honest server. Those that ended may count for a moment still: then it is reset. */
async function connection(): Promise<net.Socket> {
  const enough = AbortSignal.timeout(PATIENCE_MS);
  for (;;) {
    try {
      return await connectOnce();
    } catch (error) {
      if (enough.aborted) throw error;
    }
  }
}

async function connectOnce(): Promise<net.Socket> {
  using ns = KernelNetns.open(pod.ns.path);
  const fd = openSocket({ protocol: 'tcp', bind: { address: parseAddress(pod.ipv4), port: 0 } }, ns);
  try {
    await connectSocket(fd, { address: parseAddress(WORLD.ipv4), port: HONEST }, AbortSignal.timeout(ANSWER_MS));
  } catch (error) {
    closeFile(fd);
    throw error;
  }
  const socket = new net.Socket({ fd, readable: true, writable: true });
  socket.on('error', () => undefined);
  return socket;
}

describe('a TCP connection', () => {
  test('takes several queries in one piece, and one in several', async () => {
    const socket = await connection();
    const splitter = new FrameSplitter();
    const ids: number[] = [];
    socket.on('data', (chunk) => splitter.push(chunk, (message) => ids.push((message[0]! << 8) | message[1]!)));
    const query = (id: number, name: string): Uint8Array => frame(encodeQuery(id, name, 1)!);
    socket.write(Buffer.concat([query(1, 'www.example.com'), query(2, 'www.example.net')]));
    await waitFor('two answers', () => ids.length === 2);
    assert.deepEqual(ids.toSorted(), [1, 2]);
    const whole = query(3, 'www.example.com');
    for (const byte of whole) socket.write(Uint8Array.of(byte));
    await waitFor('the third', () => ids.length === 3);
    // A pod that has said its last still gets its answer, and then the end.
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.end(query(4, 'www.example.com'));
    await closed;
    assert.deepEqual(ids, [...ids.slice(0, 2), 3, 4]);
  });

  test('is closed when nothing is asked, and one more than the limit is reset', async () => {
    const sockets = [await connection(), await connection()];
    const closed = Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    for (const socket of sockets) socket.resume();
    const extra = await connection();
    await new Promise((resolve) => extra.once('close', resolve).resume());
    await waitFor('the count', () => scene.agent.counts!.overloaded >= 2);
    await closed;
    assert.match(await dig(pod, WORLD.ipv4, '-p', String(HONEST), '+tcp', '+short', 'www.example.com'), /198/);
  });

  test('with something else than DNS is closed', async () => {
    const socket = await connection();
    socket.resume().write('GET / HTTP/1.1\r\n\r\n'.repeat(2000));
    await new Promise((resolve) => socket.once('close', resolve));
  });
});
