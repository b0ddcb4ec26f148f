import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { socketChannel } from './channel.ts';

interface Note {
  readonly text: string;
}

/** Both ends of a connection over a Unix socket. */
async function ends(stack: DisposableStack): Promise<[Socket, Socket]> {
  const dir = mkdtempSync(path.join(tmpdir(), 'weir-channel-'));
  stack.defer(() => rmSync(dir, { recursive: true }));
  const server = createServer().listen(path.join(dir, 'socket'));
  await once(server, 'listening');
  const client = connect(path.join(dir, 'socket'));
  const [accepted] = (await once(server, 'connection')) as [Socket];
  stack.defer(() => server.close());
  for (const socket of [client, accepted]) stack.defer(() => socket.destroy());
  return [client, accepted];
}

test('messages arrive whole and in order, however the stream is cut', async () => {
  using stack = new DisposableStack();
  const [raw, other] = await ends(stack);
  const channel = socketChannel<Note, Note>(other);
  const seen: string[] = [];
  const { promise, resolve } = Promise.withResolvers<unknown>();
  channel.onMessage = ({ text }) => {
    seen.push(text);
    if (seen.length === 3) resolve(undefined);
  };
  const lines = ['one', 'Grüße\n', 'x'.repeat(200_000)].map((text) => `${JSON.stringify({ text })}\n`).join('');
  const bytes = Buffer.from(lines);
  for (let at = 0; at < bytes.length; at += at < 40 ? 1 : 4096) {
    raw.write(bytes.subarray(at, at + (at < 40 ? 1 : 4096)));
  }
  await promise;
  assert.deepEqual(
    seen.map((text) => text.slice(0, 6)),
    ['one', 'Grüße\n', 'xxxxxx'],
  );
  const answer = once(raw, 'data');
  channel.send({ text: 'back' });
  assert.equal(String((await answer)[0]), '{"text":"back"}\n');
});

for (const garbage of ['GET / HTTP/1.1\r\n', '17\n', 'null\n']) {
  test(`whoever says ${JSON.stringify(garbage)} is cut off, and the channel closes`, async () => {
    using stack = new DisposableStack();
    const [raw, other] = await ends(stack);
    const channel = socketChannel<Note, Note>(other);
    channel.onMessage = () => assert.fail('no message');
    const closed = new Promise<void>((resolve) => (channel.onClose = resolve));
    raw.write(garbage);
    await closed;
  });
}
