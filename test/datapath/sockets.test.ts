/** Services on sockets: real socket calls in a namespace and a cgroup of the test's own, with the programs on that cgroup. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { attachCgroup, SOCKET_HOOKS, type SocketHook } from '../../agent/kernel/cgroup.ts';
import { Netns as KernelNetns } from '../../agent/kernel/netns.ts';
import { netnsCookie } from '../../agent/kernel/socket.ts';
import { TestSocket, type SocketEnd } from '../../agent/kernel/test-socket.ts';
import { pinFolder } from '../../agent/kernel/testbed.ts';
import { formatAddress, parseAddress } from '../../agent/model/address.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { writeBpfSockConfig } from '../../bpf/gen/config.ts';
import { IDENTITY_REMOTE_NODE, LB_NODE_PORT, LB_TERMINATING } from '../../bpf/gen/constants.ts';
import { makeCgroup, removeCgroup } from '../harness/cgroup.ts';
import { Netns } from '../harness/netns.ts';
import { uniqueName } from '../harness/run.ts';
import { TestNode } from './node.ts';
import * as on from './services.ts';
import { BACKEND_PORT, SERVICE_PORT } from './services.ts';

const SERVICE = { ipv4: '10.96.0.1', ipv6: 'fd96::1' } as const;
const OTHER_SERVICE = { ipv4: '10.96.0.2', ipv6: 'fd96::2' } as const;
const BACKENDS = { ipv4: ['10.9.0.1', '10.9.0.2'], ipv6: ['fd09::1', 'fd09::2'] } as const;
const LOOPBACK = { ipv4: '127.0.0.1', ipv6: '::1' } as const;
const ANY = { ipv4: '0.0.0.0', ipv6: '::' } as const;
const REMOTE_NODE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' } as const;
const EHOSTUNREACH = 113;

const stack = new AsyncDisposableStack();
let node: TestNode;
/** The node's own namespace, as the programs see it, and a pod's. */
let own: KernelNetns;
let pods: KernelNetns;

before(async () => {
  node = stack.use(await TestNode.start());
  [own, pods] = ['node', 'pod'].map((what) => {
    const ns = stack.use(new Netns(what));
    for (const address of BACKENDS.ipv4) ns.ip(`addr add ${address}/32 dev lo`);
    for (const address of BACKENDS.ipv6) ns.ip(`addr add ${address}/128 dev lo nodad`);
    return stack.use(KernelNetns.open(ns.path));
  }) as [KernelNetns, KernelNetns];
  const object = stack.use(
    node.load('bpf_sock', (view) => writeBpfSockConfig(view, { hostNetnsCookie: netnsCookie(own) })),
  );
  const cgroup = joinCgroup();
  const pins = stack.use(pinFolder());
  for (const hook of Object.keys(SOCKET_HOOKS) as SocketHook[]) {
    await attachCgroup(object.program(hook).fd, { cgroup, hook, pin: pins.at(hook) });
  }
});
after(() => stack.disposeAsync());

/** Moves this process to a cgroup of its own until the end: a socket belongs to the cgroup of its maker. */
function joinCgroup(): string {
  const cgroup = makeCgroup(uniqueName('sockets'));
  const before = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))![1]!;
  const join = (folder: string): void => writeFileSync(path.join(folder, 'cgroup.procs'), String(process.pid));
  stack.defer(() => {
    join(path.join(path.dirname(cgroup), before));
    removeCgroup(cgroup);
  });
  join(cgroup);
  return cgroup;
}

const end = (address: string, port: number): SocketEnd => ({ address: parseAddress(address), port });
/** An address as a socket tells it. */
const canonical = (address: string): string => formatAddress(parseAddress(address));
const at = (address: string, port: number): string => `${address} ${port}`;

for (const family of ['ipv4', 'ipv6'] as const) {
  const [first, second] = BACKENDS[family];
  const version = family === 'ipv4' ? 4 : 6;

  for (const protocol of ['tcp', 'udp'] as const) {
    const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;

    describe(`connected ${protocol}, ${family}`, () => {
      const sockets = new DisposableStack();
      before(() => {
        for (const ns of [own, pods]) {
          const backend = sockets.use(new TestSocket(protocol, version, ns)).bind(end(first, BACKEND_PORT));
          if (protocol === 'tcp') backend.listen();
        }
      });
      after(() => sockets.dispose());
      beforeEach(async () => {
        await on.forgetServices(node);
        on.backend(node, 1, first, number);
        on.serve(node, { address: SERVICE[family], protocol: number, id: 7, backends: [1] });
      });

      const peerOf = (address: string, port = SERVICE_PORT, ns = own, socketFamily: 4 | 6 = version): string => {
        using socket = new TestSocket(protocol, socketFamily, ns);
        return socket.connect(end(address, port)).peer();
      };

      test('a service is reached at a backend, and is who it is spoken to', () => {
        assert.equal(peerOf(SERVICE[family]), at(SERVICE[family], SERVICE_PORT));
        assert.equal(peerOf(SERVICE[family], SERVICE_PORT, pods), at(SERVICE[family], SERVICE_PORT));
      });

      test('what is no service is left alone', () => {
        assert.equal(peerOf(first, BACKEND_PORT), at(first, BACKEND_PORT));
        on.serve(node, { address: ANY[family], protocol: number, id: 8, backends: [1], kind: LB_NODE_PORT });
        assert.equal(peerOf(first, BACKEND_PORT), at(first, BACKEND_PORT));
      });

      if (protocol === 'udp') {
        test('a socket that connects again knows the last service, though the backend is the same', () => {
          on.serve(node, { address: OTHER_SERVICE[family], protocol: number, id: 8, backends: [1] });
          using socket = new TestSocket(protocol, version, own);
          for (const address of [SERVICE[family], SERVICE[family], OTHER_SERVICE[family]]) {
            assert.equal(socket.connect(end(address, SERVICE_PORT)).peer(), at(address, SERVICE_PORT));
          }
        });
        test('port 0 is no service', () => {
          using socket = new TestSocket(protocol, version, own);
          socket.connect(end(first, 0));
        });
      }

      test('a service without a backend that works cannot be reached', () => {
        const refused = { errno: EHOSTUNREACH };
        on.serve(node, { address: OTHER_SERVICE[family], protocol: number, id: 8, backends: [] });
        assert.throws(() => peerOf(OTHER_SERVICE[family]), refused);
        on.serve(node, { address: OTHER_SERVICE[family], protocol: number, id: 8, backends: [99] });
        assert.throws(() => peerOf(OTHER_SERVICE[family]), refused, 'a backend that is gone');
        on.backend(node, 2, family === 'ipv4' ? BACKENDS.ipv6[0] : BACKENDS.ipv4[0], number);
        on.serve(node, { address: OTHER_SERVICE[family], protocol: number, id: 8, backends: [2] });
        assert.throws(() => peerOf(OTHER_SERVICE[family]), refused, 'one of the other family');
      });

      test('a node port is one at any node’s address, and at the node’s own loopback', () => {
        for (const address of [ANY[family], LOOPBACK[family]]) {
          on.serve(node, { address, protocol: number, id: 8, backends: [1], kind: LB_NODE_PORT });
        }
        node.ipcache(REMOTE_NODE[family], IDENTITY_REMOTE_NODE);
        assert.equal(peerOf(REMOTE_NODE[family]), at(REMOTE_NODE[family], SERVICE_PORT));
        assert.equal(peerOf(LOOPBACK[family]), at(LOOPBACK[family], SERVICE_PORT));
        if (protocol === 'tcp') {
          const loopback = (): string => peerOf(LOOPBACK[family], SERVICE_PORT, pods);
          assert.throws(loopback, { message: /ECONNREFUSED/ }, 'a pod’s loopback is its own');
        } else {
          assert.equal(peerOf(ANY[family]), at(ANY[family], SERVICE_PORT), 'which connects there');
        }
      });

      if (protocol === 'tcp') {
        test('session affinity is by namespace', () => {
          on.backend(node, 2, second, number);
          const service = { address: OTHER_SERVICE[family], protocol: number, id: 8, affinitySeconds: 1000 };
          on.serve(node, { ...service, backends: [1] });
          assert.equal(peerOf(OTHER_SERVICE[family]), at(OTHER_SERVICE[family], SERVICE_PORT));
          // Nobody listens at the second backend; the client keeps its first, which is a member still.
          on.serve(node, { ...service, backends: [2, 1] });
          for (let i = 0; i < 8; i++) peerOf(OTHER_SERVICE[family]);
        });
      }

      if (family === 'ipv4') {
        test('an IPv6 socket reaches an IPv4 service by its mapped address', () => {
          const mapped = (address: string): string => canonical(`::ffff:${address}`);
          assert.equal(peerOf(`::ffff:${SERVICE.ipv4}`, SERVICE_PORT, own, 6), at(mapped(SERVICE.ipv4), SERVICE_PORT));
          assert.equal(peerOf(`::ffff:${first}`, BACKEND_PORT, own, 6), at(mapped(first), BACKEND_PORT));
        });
      }
    });
  }

  describe(`datagrams, ${family}`, () => {
    const sockets = new DisposableStack();
    const backends: TestSocket[] = [];
    before(() => {
      for (const address of [first, second]) {
        backends.push(sockets.use(new TestSocket('udp', version, own)).bind(end(address, BACKEND_PORT)));
      }
    });
    after(() => sockets.dispose());
    beforeEach(async () => {
      await on.forgetServices(node);
      on.backend(node, 1, first, PROTOCOL.UDP);
      on.backend(node, 2, second, PROTOCOL.UDP);
      on.serve(node, { address: SERVICE[family], protocol: PROTOCOL.UDP, id: 7, backends: [1] });
    });
    const service = end(SERVICE[family], SERVICE_PORT);

    /** Sends from `client` to the service, answers as the backend, and tells from whom the answer seems to be. */
    const asks = (client: TestSocket, backend: TestSocket, to: SocketEnd = service): string => {
      client.send('question', to);
      const { text, from } = backend.receive();
      assert.equal(text, 'question');
      const [address, port] = from.split(' ') as [string, string];
      backend.send('answer', end(address, Number(port)));
      return client.receive().from;
    };

    test('what the backend answers comes from the service, what others send from themselves', () => {
      using client = new TestSocket('udp', version, own);
      assert.equal(asks(client, backends[0]!), at(SERVICE[family], SERVICE_PORT));
      assert.equal(asks(client, backends[1]!, end(second, BACKEND_PORT)), at(second, BACKEND_PORT));
    });

    test('a socket keeps its backend, until that is to take no more', () => {
      using client = new TestSocket('udp', version, own);
      asks(client, backends[0]!);
      on.serve(node, { address: SERVICE[family], protocol: PROTOCOL.UDP, id: 7, backends: [2] });
      asks(client, backends[0]!);
      using other = new TestSocket('udp', version, own);
      asks(other, backends[1]!);
      on.backend(node, 1, first, PROTOCOL.UDP, LB_TERMINATING);
      asks(client, backends[1]!);
    });

    test('a service without backends cannot be sent to', () => {
      on.serve(node, { address: OTHER_SERVICE[family], protocol: PROTOCOL.UDP, id: 8, backends: [] });
      using client = new TestSocket('udp', version, own);
      assert.throws(() => client.send('question', end(OTHER_SERVICE[family], SERVICE_PORT)), { errno: EHOSTUNREACH });
    });

    if (family === 'ipv4') {
      test('an IPv6 socket sends to an IPv4 service, and hears from it, by its mapped address', () => {
        using client = new TestSocket('udp', 6, own);
        const mapped = end(`::ffff:${SERVICE.ipv4}`, SERVICE_PORT);
        assert.equal(asks(client, backends[0]!, mapped), at(canonical(`::ffff:${SERVICE.ipv4}`), SERVICE_PORT));
      });
    }
  });
}
