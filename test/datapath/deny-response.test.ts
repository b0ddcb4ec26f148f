/** What a pod hears when policy denies what it sends, with `deny_response`. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PROTOCOL } from '../../agent/model/port.ts';
import { IDENTITY_REMOTE_NODE } from '../../bpf/gen/constants.ts';
import { ip, quoteOf, TCP, type Payload } from './frame.ts';
import { endpointMacs, TestNode, type EndpointPrograms } from './node.ts';
import * as on from './services.ts';

const POD = { id: 1, identity: 1001, ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
const PEER = { ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;
const SERVICE = { ipv4: '10.96.0.1', ipv6: 'fd96::1' } as const;
const OTHER_NODE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' } as const;
const ANY = { ipv4: '0.0.0.0', ipv6: '::' } as const;

let node: TestNode;
let pod: EndpointPrograms;
let silent: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint({ ...POD, config: { denyResponse: true } });
  silent = node.endpoint({ ...POD, id: 2, ipv4: '10.0.0.2', ipv6: 'fd00::2' });
});
after(() => node[Symbol.dispose]());

for (const [family, type, code] of [
  ['ipv4', 3, 13],
  ['ipv6', 1, 1],
] as const) {
  describe(`deny response, ${family}`, () => {
    const sends = (payload: Payload) => {
      const frame = ip({ from: POD[family], to: PEER[family], payload });
      return { frame, ran: pod.run('from_container', frame) };
    };
    /** An IP header without options, and the transport header of TCP or eight bytes of another. */
    const quoted = (payload: Payload): number => (family === 'ipv4' ? 20 : 40) + ('tcp' in payload ? 20 : 8);

    for (const [name, payload] of [
      ['TCP', { tcp: [4000, 80], flags: TCP.syn }],
      ['UDP', { udp: [4000, 53] }],
      ['a long datagram', { udp: [4000, 53], data: Buffer.alloc(1200) }],
      ['an echo request', { icmp: { type: family === 'ipv4' ? 8 : 128, id: 7 } }],
    ] as const satisfies readonly (readonly [string, Payload])[]) {
      test(`${name} is answered with administratively prohibited`, () => {
        const { frame, ran } = sends(payload);
        assert.equal(ran.verdict, 'redirect');
        const macs = endpointMacs(POD.id);
        const expected = ip({
          from: PEER[family],
          to: POD[family],
          macs: { to: macs.pod, from: macs.host },
          payload: { icmp: { type, code, quote: quoteOf(frame, quoted(payload)) } },
        });
        assert.deepEqual(ran.frame.toString('hex'), expected.toString('hex'));
      });
    }

    for (const asked of ['a service', 'a node port of another node'] as const) {
      test(`what goes to ${asked} is answered by that, though policy was asked about a backend`, () => {
        const [address, frontend] =
          asked === 'a service' ? [SERVICE[family], SERVICE[family]] : [OTHER_NODE[family], ANY[family]];
        on.backend(node, 1, PEER[family], PROTOCOL.TCP);
        on.serve(node, { address: frontend, protocol: PROTOCOL.TCP, id: 9, backends: [1] });
        node.ipcache(OTHER_NODE[family], IDENTITY_REMOTE_NODE);
        const frame = on.summed(POD[family], address, { tcp: [4000, on.SERVICE_PORT], flags: TCP.syn });
        const ran = pod.run('from_container', frame);
        assert.equal(ran.verdict, 'redirect');
        const macs = endpointMacs(POD.id);
        const expected = ip({
          from: address,
          to: POD[family],
          macs: { to: macs.pod, from: macs.host },
          payload: { icmp: { type, code, quote: quoteOf(frame, quoted({ tcp: [0, 0] })) } },
        });
        assert.deepEqual(ran.frame.toString('hex'), expected.toString('hex'));
      });
    }

    test('nobody complains about complaints and resets, nor of what cannot be placed', () => {
      const inner = quoteOf(ip({ from: PEER[family], to: POD[family], payload: { udp: [53, 4000] } }));
      assert.equal(sends({ icmp: { type, code: 1, quote: inner } }).ran.verdict, 'drop');
      assert.equal(sends({ tcp: [4000, 80], flags: 4 }).ran.verdict, 'drop');
    });

    test('it is counted and reported as a drop, of the packet as it was', () => {
      node.events();
      const { frame } = sends({ udp: [4001, 53], data: Buffer.alloc(500) });
      const drops = node.events().filter((event) => event.type === 1);
      assert.deepEqual(
        drops.map(({ length, sourcePort }) => [length, sourcePort]),
        [[frame.length, 4001]],
      );
    });

    test('without it nothing comes back', () => {
      const frame = ip({
        from: family === 'ipv4' ? '10.0.0.2' : 'fd00::2',
        to: PEER[family],
        payload: { udp: [1, 2] },
      });
      assert.equal(silent.run('from_container', frame).verdict, 'drop');
    });
  });
}
