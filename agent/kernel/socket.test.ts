import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { parseAddress, parseCidr } from '../model/address.ts';
import { ifIndex } from '../model/endpoint.ts';
import type { Netns } from './netns.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { changeLink } from './rtnl-link.ts';
import { setRoute } from './rtnl-route.ts';
import { addRule } from './rtnl-rule.ts';
import { openSocket, type SocketSpec } from './socket.ts';
import { closeFile } from './libc.ts';
import { testNetns } from './testbed.ts';

const LOOPBACK = ifIndex(1);

function loopbackNetns(): Netns & { rt: Rtnetlink } {
  const ns = testNetns();
  const rt = Rtnetlink.open(ns);
  rt.apply(changeLink(LOOPBACK, { up: true }));
  return Object.assign(ns, { rt });
}

/** A datagram socket of Node's on a descriptor of ours: bound from the start, so it listens at once. */
function datagram(spec: Omit<SocketSpec, 'protocol'>, ns: Netns): dgram.Socket {
  const socket = dgram.createSocket(spec.bind.address.family === 4 ? 'udp4' : 'udp6');
  socket.bind({ fd: openSocket({ protocol: 'udp', ...spec }, ns) });
  return socket;
}

for (const [loopback, foreign] of [
  ['127.0.0.1', '192.0.2.7'],
  ['::1', '2001:db8::7'],
] as const) {
  // prettier-ignore
  test(`Node reads and writes transparent sockets of another namespace: ${foreign} to ${loopback}`, async () => {
    using ns = loopbackNetns();
    const server = datagram({ bind: { address: parseAddress(loopback), port: 0 } }, ns);
    const client = datagram({ bind: { address: parseAddress(foreign), port: 5353 }, transparent: true }, ns);
    try {
      const received = once(server, 'message');
      client.send('hello', server.address().port, loopback);
      const [message, from] = (await received) as [Buffer, dgram.RemoteInfo];
      assert.equal(message.toString(), 'hello');
      assert.deepEqual([from.address, from.port], [foreign, 5353]);
    } finally {
      server.close();
      client.close();
      ns.rt.close();
    }
  });
}

test('without IP_TRANSPARENT a foreign address is refused by name', () => {
  using ns = loopbackNetns();
  const bind = { address: parseAddress('192.0.2.7'), port: 53 };
  assert.throws(() => openSocket({ protocol: 'udp', bind }, ns), {
    code: 'SYSCALL_FAILED',
    message: 'bind udp 192.0.2.7 port 53: EADDRNOTAVAIL',
  });
  ns.rt.close();
});

test('marks steer routing rules', async () => {
  using ns = loopbackNetns();
  ns.rt.apply(
    addRule({ family: 4, priority: 5, table: 200, mark: { value: 0x200, mask: 0xf00 } }),
    setRoute({ destination: parseCidr('0.0.0.0/0'), kind: 'unreachable', table: 200 }),
  );
  const bind = { address: parseAddress('127.0.0.1'), port: 0 };
  const marked = datagram({ bind, mark: 0x200 }, ns);
  const plain = datagram({ bind }, ns);
  try {
    const send = (socket: dgram.Socket): Promise<Error | null> =>
      new Promise((resolve) => socket.send('x', 9, '192.0.2.1', resolve));
    // Local addresses are found before the rule; any other is unreachable for the marked one only.
    assert.match(String(await send(marked)), /EHOSTUNREACH/);
    assert.match(String(await send(plain)), /ENETUNREACH/);
  } finally {
    marked.close();
    plain.close();
    ns.rt.close();
  }
});

test('two TCP listeners share a port, and Node listens on their descriptors', async () => {
  using ns = loopbackNetns();
  const bind = { address: parseAddress('127.0.0.1'), port: 8080 };
  const spec: SocketSpec = { protocol: 'tcp', bind, reusePort: true, receiveBuffer: 1 << 20, sendBuffer: 1 << 20 };
  const servers = [createServer(), createServer()];
  try {
    for (const server of servers) {
      server.listen({ fd: openSocket(spec, ns) });
      await once(server, 'listening');
      assert.deepEqual(server.address(), { address: '127.0.0.1', family: 'IPv4', port: 8080 });
    }
    assert.throws(
      () => closeFile(openSocket({ protocol: 'tcp', bind }, ns)),
      /bind tcp 127.0.0.1 port 8080: EADDRINUSE/,
    );
  } finally {
    for (const server of servers) server.close();
    ns.rt.close();
  }
});
