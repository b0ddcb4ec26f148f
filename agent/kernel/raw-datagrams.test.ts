import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress } from '../model/address.ts';
import { ifIndex } from '../model/endpoint.ts';
import { DatagramBatch } from './datagram-batch.ts';
import { closeFile } from './libc.ts';
import { RawDatagrams } from './raw-datagrams.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { changeLink } from './rtnl-link.ts';
import { boundPort, openSocket } from './socket.ts';
import { testNetns } from './testbed.ts';

for (const [loopback, foreign] of [
  ['127.0.0.1', '192.0.2.7'],
  ['::1', '2001:db8::7'],
] as const) {
  test(`datagrams to ${loopback} from ${foreign}, which is nobody's, and from any port`, () => {
    using ns = testNetns();
    using rt = Rtnetlink.open(ns);
    rt.apply(changeLink(ifIndex(1), { up: true }));
    const address = parseAddress(loopback);
    const fd = openSocket({ protocol: 'udp', bind: { address, port: 0 } }, ns);
    const to = { address, port: boundPort(fd) };
    using raw = new RawDatagrams(address.family, 0xa00, { netns: ns, capacity: 2, room: 4096 });
    try {
      const from = (port: number) => ({ address: parseAddress(foreign), port });
      assert.equal(raw.add(Buffer.from('one'), from(53), to), 0);
      assert.equal(raw.add(Buffer.alloc(3000, 'x'), from(5353), to), 0);
      assert.equal(raw.add(Buffer.from('three'), from(65535), to), 0, 'the batch is full: two are sent first');
      assert.equal(raw.flush(), 0);
      const incoming = new DatagramBatch(4, 4096);
      assert.equal(incoming.receive(fd), 3);
      const seen = [0, 1, 2].map((i) => {
        const { address: source, port } = incoming.source(i);
        return [formatAddress(source), port, incoming.length(i)];
      });
      assert.deepEqual(seen, [
        [foreign, 53, 3],
        [foreign, 5353, 3000],
        [foreign, 65535, 5],
      ]);
      assert.equal(incoming.bytes.toString('latin1', incoming.start(2), incoming.start(2) + 5), 'three');
      assert.equal(incoming.receive(fd), 0);
    } finally {
      closeFile(fd);
    }
  });
}
