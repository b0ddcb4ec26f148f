import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { parseAddress } from '../../agent/model/address.ts';
import { inOwnNetns } from '../../agent/datapath/own-netns.ts';
import { EchoSocket } from '../../agent/kernel/echo.ts';
import { Netns } from '../../agent/kernel/netns.ts';

if (inOwnNetns(import.meta.filename)) {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);

  for (const [family, address] of [
    [4, '127.0.0.1'],
    [6, '::1'],
  ] as const) {
    test(`an address answers over IPv${family}, each echo its own`, async () => {
      using socket = new EchoSocket(family);
      const answers = await Promise.all([1, 2, 3].map(() => socket.ask(parseAddress(address), 5000)));
      for (const nanoseconds of answers) assert.ok(nanoseconds !== undefined && nanoseconds > 0, String(nanoseconds));
    });
  }

  test('what nobody answers is undefined, what cannot be sent is an error', async () => {
    execFileSync('ip', ['route', 'add', 'blackhole', '192.0.2.1']);
    execFileSync('ip', ['route', 'add', '192.0.2.2', 'dev', 'lo']);
    using socket = new EchoSocket(4);
    assert.equal(await socket.ask(parseAddress('192.0.2.2'), 50), undefined);
    await assert.rejects(socket.ask(parseAddress('192.0.2.1'), 50), { code: 'SYSCALL_FAILED' });
  });

  test('a namespace without a name is found by its path, and ends with its descriptor', () => {
    const netns = Netns.create();
    using again = Netns.open(netns.path);
    assert.equal(again.inode, netns.inode);
    using own = Netns.current();
    assert.notEqual(own.inode, netns.inode);
    netns.close();
    assert.throws(() => Netns.open(netns.path));
  });
}
