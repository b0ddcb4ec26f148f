import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress } from '../model/address.ts';
import { ifIndex } from '../model/endpoint.ts';
import { DatagramBatch } from './datagram-batch.ts';
import { closeFile } from './libc.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { changeLink } from './rtnl-link.ts';
import { openSocket } from './socket.ts';
import { testNetns } from './testbed.ts';

for (const [loopback, foreign] of [
  ['127.0.0.1', '192.0.2.7'],
  ['::1', '2001:db8::7'],
] as const) {
  test(`a batch from ${foreign} to ${loopback}, with the destination of each, and answers by the batch`, () => {
    using ns = testNetns();
    const rt = Rtnetlink.open(ns);
    rt.apply(changeLink(ifIndex(1), { up: true }));
    const [server, client] = [
      { address: parseAddress(loopback), port: 5300 },
      { address: parseAddress(foreign), port: 5353 },
    ];
    const serverFd = openSocket({ protocol: 'udp', bind: server, transparent: true, originalDestination: true }, ns);
    const clientFd = openSocket({ protocol: 'udp', bind: client, transparent: true }, ns);
    try {
      const [out, incoming] = [new DatagramBatch(4, 16), new DatagramBatch(4, 8)];
      assert.equal(incoming.receive(serverFd), 0, 'nothing has arrived');
      for (const text of ['one', 'three', 'longer than room']) assert.ok(out.add(Buffer.from(text), server));
      assert.equal(out.send(clientFd), 0);
      assert.equal(incoming.receive(serverFd), 3);
      const seen = [0, 1, 2].map((i) =>
        incoming.bytes.toString('utf8', incoming.start(i), incoming.start(i) + incoming.length(i)),
      );
      assert.deepEqual(seen, ['one', 'three', 'longer t']);
      assert.deepEqual(
        [0, 1, 2].map((i) => incoming.truncated(i)),
        [false, false, true],
      );
      const { address, port } = incoming.source(1);
      assert.deepEqual([formatAddress(address), port], [foreign, 5353]);
      const asked = incoming.originalDestination(2);
      assert.deepEqual(asked && [formatAddress(asked.address), asked.port], [loopback, 5300]);
    } finally {
      closeFile(serverFd);
      closeFile(clientFd);
      rt.close();
    }
  });
}

test('a message that the kernel refuses is dropped; those around it are sent', () => {
  using ns = testNetns();
  const rt = Rtnetlink.open(ns);
  rt.apply(changeLink(ifIndex(1), { up: true }));
  const here = { address: parseAddress('127.0.0.1'), port: 5300 };
  const fd = openSocket({ protocol: 'udp', bind: here }, ns);
  try {
    const batch = new DatagramBatch(3, 8);
    const nowhere = { address: parseAddress('192.0.2.1'), port: 53 };
    assert.deepEqual(
      [here, nowhere, here, here].map((to) => batch.add(Buffer.from('x'), to)),
      [true, true, true, false],
    );
    assert.equal(batch.send(fd), 1);
    assert.equal(batch.count, 0);
    assert.equal(batch.receive(fd), 2);
    assert.equal(batch.originalDestination(0), undefined, 'not asked for');
    assert.throws(() => batch.add(new Uint8Array(9), here), RangeError);
  } finally {
    closeFile(fd);
    rt.close();
  }
});

test('a descriptor that is no socket is an error', () => {
  assert.throws(() => new DatagramBatch(1, 8).receive(-1), { code: 'SYSCALL_FAILED' });
});
