/** Connections: what is remembered, for how long, what belongs to them, and what a change of policy does to them. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Connection } from '../../agent/datapath/maps/conntrack.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { CT_SEEN_NON_SYN, CT_SEEN_REPLY } from '../../bpf/gen/constants.ts';
import { ip, quoteOf, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type TestRule } from './node.ts';

const POD = { id: 21, identity: 1021, ipv4: '10.0.0.21', ipv6: 'fd00::21' };
const OTHER = { id: 22, identity: 1022, ipv4: '10.0.0.22', ipv6: 'fd00::22' };
const PEER = { identity: 3000, ipv4: '10.2.0.1', ipv6: 'fd02::1' };
const ROUTER = { ipv4: '203.0.113.1', ipv6: '2001:db8:ff::1' } as const;
const NANOSECONDS = 1_000_000_000n;

let node: TestNode;
let pod: EndpointPrograms;
let other: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  other = node.endpoint(OTHER);
  node.ipcache(PEER.ipv4, PEER.identity);
  node.ipcache(PEER.ipv6, PEER.identity);
});
after(() => node[Symbol.dispose]());

type Family = 'ipv4' | 'ipv6';

/** A conversation between the pod and its peer; `out` is what the pod sends. */
function between(family: Family): { out: (payload: Payload) => string; into: (payload: Payload) => string } {
  return {
    out: (payload) => pod.run('from_container', ip({ from: POD[family], to: PEER[family], payload })).verdict,
    into: (payload) =>
      pod.run('policy_ingress', ip({ from: PEER[family], to: POD[family], payload }), { sourceIdentity: PEER.identity })
        .verdict,
  };
}

const pass = { out: 'ok', into: 'redirect' } as const;
const EGRESS: TestRule = { direction: 'egress', identity: PEER.identity, protocol: PROTOCOL.TCP, port: 80, cookie: 77 };
const INGRESS: TestRule = { ...EGRESS, direction: 'ingress', cookie: 78 };

function change(what: 'allow' | 'revoke', ...rules: TestRule[]): void {
  pod[what](...rules);
  node.raiseRevision(POD.id);
}

async function only(): Promise<Connection> {
  const connections = await node.connections();
  assert.equal(connections.length, 1);
  return connections[0]!;
}

/** Seconds that the connection still has, rounded: the clock is a few milliseconds coarse. */
const lifetime = ({ expires }: Connection): number =>
  Number((expires - process.hrtime.bigint() + NANOSECONDS / 2n) / NANOSECONDS);

for (const family of ['ipv4', 'ipv6'] as const) {
  const { out, into } = between(family);
  const icmp = family === 'ipv4' ? PROTOCOL.ICMP : PROTOCOL.ICMPv6;
  const [request, reply, unreachable] = family === 'ipv4' ? [8, 0, 3] : [128, 129, 1];

  describe(`conntrack, ${family}`, () => {
    beforeEach(async () => {
      await node.forgetConnections();
      for (const rule of [EGRESS, INGRESS]) pod.revoke(rule);
      node.raiseRevision(POD.id);
    });

    test('a TCP connection from SYN to FIN: one entry, both ways counted, lifetimes', async () => {
      change('allow', EGRESS);
      assert.equal(into({ tcp: [80, 4000], flags: TCP.syn | TCP.ack }), 'drop', 'no answer before the question');
      assert.equal(out({ tcp: [4000, 80], flags: TCP.syn }), pass.out);
      assert.deepEqual([lifetime(await only()), (await only()).cookie], [60, 77]);
      assert.equal(into({ tcp: [80, 4000], flags: TCP.syn | TCP.ack }), pass.into);
      assert.equal(out({ tcp: [4000, 80] }), pass.out);
      const open = await only();
      assert.equal(lifetime(open), 8000);
      assert.equal(open.flags, CT_SEEN_REPLY);
      assert.deepEqual([open.forward.packets, open.reply.packets], [2n, 1n]);
      assert.equal(open.forward.bytes, family === 'ipv4' ? 108n : 148n);
      assert.equal(out({ tcp: [4000, 80], flags: TCP.fin | TCP.ack }), pass.out);
      assert.equal(lifetime(await only()), 8000, 'half closed');
      assert.equal(into({ tcp: [80, 4000], flags: TCP.fin | TCP.ack }), pass.into);
      assert.equal(lifetime(await only()), 10);
      assert.equal(out({ tcp: [4000, 80] }), pass.out, 'the last ACK');
    });

    test('RST closes', async () => {
      change('allow', EGRESS);
      out({ tcp: [4001, 80], flags: TCP.syn });
      assert.equal(into({ tcp: [80, 4001], flags: TCP.rst | TCP.ack }), pass.into);
      assert.equal(lifetime(await only()), 10);
    });

    test('a SYN on a closed connection opens a new one, and is judged', async () => {
      change('allow', EGRESS);
      out({ tcp: [4002, 80], flags: TCP.syn });
      into({ tcp: [80, 4002], flags: TCP.rst });
      assert.equal(out({ tcp: [4002, 80], flags: TCP.syn }), pass.out);
      const again = await only();
      assert.deepEqual([lifetime(again), again.forward.packets, again.reply.packets], [60, 1n, 0n]);
    });

    test('a connection picked up in mid-stream has the lifetime of an established one', async () => {
      change('allow', EGRESS);
      assert.equal(out({ tcp: [4003, 80] }), pass.out);
      const found = await only();
      assert.deepEqual([found.flags, lifetime(found)], [CT_SEEN_NON_SYN, 8000]);
    });

    test('a SYN from the other side is no answer: it is judged by the policy of its own direction', async () => {
      change('allow', EGRESS);
      out({ tcp: [80, 80], flags: TCP.syn });
      assert.equal(into({ tcp: [80, 80], flags: TCP.syn }), 'drop');
      assert.equal((await only()).direction, 'egress');
      change('allow', INGRESS);
      assert.equal(into({ tcp: [80, 80], flags: TCP.syn }), pass.into);
      assert.equal((await only()).direction, 'ingress', 'nobody had answered the first');
    });

    test('... and does not take over a connection on which both sides speak', async () => {
      change('allow', EGRESS, INGRESS);
      out({ tcp: [80, 80], flags: TCP.syn });
      into({ tcp: [80, 80], flags: TCP.syn | TCP.ack });
      assert.equal(into({ tcp: [80, 80], flags: TCP.syn }), pass.into);
      assert.equal((await only()).direction, 'egress');
    });

    test('UDP: replies pass, a lifetime of one minute', async () => {
      const rule: TestRule = { ...EGRESS, protocol: PROTOCOL.UDP, port: 53 };
      change('allow', rule);
      assert.equal(into({ udp: [53, 5000] }), 'drop');
      assert.equal(out({ udp: [5000, 53] }), pass.out);
      assert.equal(into({ udp: [53, 5000] }), pass.into);
      assert.equal(into({ udp: [54, 5000] }), 'drop', 'another port is another conversation');
      assert.equal(lifetime(await only()), 60);
      change('revoke', rule);
    });

    test('ICMP echo: the reply to a request passes, a request never does as a reply', async () => {
      const rule: TestRule = { direction: 'egress', protocol: icmp, port: request };
      change('allow', rule);
      assert.equal(into({ icmp: { type: reply, id: 9 } }), 'drop');
      assert.equal(out({ icmp: { type: request, id: 9 } }), pass.out);
      assert.equal(into({ icmp: { type: reply, id: 9 } }), pass.into);
      assert.equal(into({ icmp: { type: reply, id: 10 } }), 'drop');
      assert.equal(into({ icmp: { type: request, id: 9 } }), 'drop', 'the same id, but the other side asks');
      assert.deepEqual([(await only()).forward.packets, (await only()).reply.packets], [1n, 1n]);
      change('revoke', rule);
    });

    test('an echo reply that nobody asked for opens nothing', async () => {
      const rule: TestRule = { direction: 'egress', protocol: icmp };
      change('allow', rule);
      assert.equal(out({ icmp: { type: reply, id: 9 } }), pass.out);
      assert.deepEqual(await node.connections(), []);
      assert.equal(into({ icmp: { type: request, id: 9 } }), 'drop');
      change('revoke', rule);
    });

    test('an ICMP error passes with the connection that it quotes, from any router, and only then', async () => {
      change('allow', EGRESS);
      const error = (quote: Uint8Array): string => {
        const payload = { icmp: { type: unreachable, quote } };
        return pod.run('policy_ingress', ip({ from: ROUTER[family], to: POD[family], payload })).verdict;
      };
      const sent = ip({ from: POD[family], to: PEER[family], payload: { tcp: [4100, 80], flags: TCP.syn } });
      assert.equal(error(quoteOf(sent)), 'drop');
      pod.run('from_container', sent);
      const before = await only();
      assert.equal(error(quoteOf(sent)), pass.into);
      const backwards = ip({ from: PEER[family], to: POD[family], payload: { tcp: [80, 4100] } });
      assert.equal(error(quoteOf(backwards)), 'drop', 'the pod never sent that');
      assert.deepEqual(await only(), before, 'an error prolongs nothing');
      change('revoke', EGRESS);
      assert.equal(error(quoteOf(sent)), 'drop', 'nor does it outlive a change of policy');
    });

    test("an ICMP error about another pod's connection is nobody's, from either side, and leaves that alone", async () => {
      change('allow', EGRESS);
      const sent = ip({ from: POD[family], to: PEER[family], payload: { tcp: [4102, 80], flags: TCP.syn } });
      pod.run('from_container', sent);
      node.raiseRevision(POD.id);
      const before = await only();
      const payload = { icmp: { type: unreachable, quote: quoteOf(sent) } };
      const intoOther = ip({ from: ROUTER[family], to: OTHER[family], payload });
      assert.equal(other.run('policy_ingress', intoOther).verdict, 'drop');
      const answer = ip({ from: PEER[family], to: POD[family], payload: { tcp: [80, 4102] } });
      const complaint = { icmp: { type: unreachable, quote: quoteOf(answer) } };
      const outOfOther = ip({ from: OTHER[family], to: PEER[family], payload: complaint });
      assert.equal(other.run('from_container', outOfOther).verdict, 'drop');
      assert.deepEqual(await only(), before);
    });

    test('an echo with the identifier 0: who asks is told from who answers all the same', async () => {
      const rules: TestRule[] = [{ direction: 'egress', protocol: icmp }];
      change('allow', ...rules);
      assert.equal(out({ icmp: { type: reply, id: 0 } }), pass.out);
      assert.deepEqual(await node.connections(), [], 'an answer opens nothing');
      assert.equal(out({ icmp: { type: request, id: 0 } }), pass.out);
      assert.equal(into({ icmp: { type: request, id: 0 } }), 'drop', 'a request is no reply');
      assert.equal(into({ icmp: { type: reply, id: 0 } }), pass.into);
      assert.equal((await only()).direction, 'egress');
      change('revoke', ...rules);
    });

    test('the pod may complain about a connection to itself', () => {
      change('allow', INGRESS);
      const sent = ip({ from: PEER[family], to: POD[family], payload: { tcp: [4101, 80], flags: TCP.syn } });
      pod.run('policy_ingress', sent, { sourceIdentity: PEER.identity });
      assert.equal(out({ icmp: { type: unreachable, quote: quoteOf(sent) } }), pass.out);
    });
  });

  describe(`revision, ${family}`, () => {
    beforeEach(async () => {
      await node.forgetConnections();
      for (const rule of [EGRESS, INGRESS]) pod.revoke(rule);
      node.raiseRevision(POD.id);
    });

    const sides = [
      {
        name: 'egress',
        rule: EGRESS,
        forward: () => out({ tcp: [4200, 80] }),
        back: () => into({ tcp: [80, 4200] }),
        ok: [pass.out, pass.into],
      },
      {
        name: 'ingress',
        rule: INGRESS,
        forward: () => into({ tcp: [4200, 80] }),
        back: () => out({ tcp: [80, 4200] }),
        ok: [pass.into, pass.out],
      },
    ] as const;
    for (const { name, rule, forward, back, ok } of sides) {
      test(`${name}: at the same revision nothing but the connection is asked`, () => {
        change('allow', rule);
        assert.deepEqual([forward(), back()], ok);
        pod.revoke(rule); // without a new revision: what a packet in flight sees while the writer is still at work
        assert.deepEqual([forward(), back()], ok);
      });

      for (const first of ['forward', 'back'] as const) {
        test(`${name}: a change of policy cuts both directions, ${first} first`, async () => {
          // Everything that the other direction says is allowed: only the connection's own policy may decide.
          const other: TestRule = { direction: name === 'egress' ? 'ingress' : 'egress' };
          change('allow', rule, other);
          assert.deepEqual([forward(), back()], ok);
          change('revoke', rule);
          const runs = first === 'forward' ? [forward, back] : [back, forward];
          assert.deepEqual(
            runs.map((run) => run()),
            ['drop', 'drop'],
          );
          assert.equal((await only()).verdict, 'denied');
          change('allow', rule);
          assert.deepEqual([forward(), back()], ok, 'and a change back lets it go on');
          pod.revoke(other);
        });
      }

      test(`${name}: a cut connection is not kept alive by what is dropped`, async () => {
        change('allow', rule);
        forward();
        const { expires } = await only();
        change('revoke', rule);
        forward();
        back();
        assert.equal((await only()).expires, expires);
      });

      test(`${name}: another identity at the peer's address is judged for itself`, () => {
        change('allow', rule);
        assert.deepEqual([forward(), back()], ok);
        node.ipcache(PEER[family], 3001);
        node.raiseRevision(0);
        assert.equal(back(), name === 'egress' ? 'drop' : 'drop');
        node.ipcache(PEER[family], PEER.identity);
        node.raiseRevision(0);
        assert.equal(back(), ok[1]);
      });
    }

    test("the connection of a host socket stays the host's, though the address says otherwise", () => {
      const rule: TestRule = { direction: 'ingress', identity: 1, protocol: PROTOCOL.TCP, port: 80 };
      change('allow', rule);
      const frame = ip({ from: PEER[family], to: POD[family], payload: { tcp: [4300, 80], flags: TCP.syn } });
      assert.equal(pod.run('to_container', frame).verdict, 'ok');
      node.raiseRevision(POD.id);
      assert.equal(out({ tcp: [80, 4300] }), pass.out, "the reply is judged again, as the host's");
      change('revoke', rule);
      assert.equal(out({ tcp: [80, 4300] }), 'drop');
    });
  });

  describe(`fragments, ${family}`, () => {
    const UDP: TestRule = { direction: 'egress', protocol: PROTOCOL.UDP, port: 5300 };
    const fragment = (id: number, offset: number, payload: Payload, more = true): string =>
      pod.run('from_container', ip({ from: POD[family], to: PEER[family], payload, fragment: { id, offset, more } }))
        .verdict;
    const tail: Payload = { raw: Buffer.alloc(64, 0xaa), protocol: PROTOCOL.UDP };
    beforeEach(() => node.forgetConnections());

    test('later fragments follow their first one', async () => {
      change('allow', UDP);
      assert.equal(fragment(1, 0, { udp: [6000, 5300] }), pass.out);
      assert.equal(fragment(1, 16, tail, false), pass.out);
      assert.equal((await only()).forward.packets, 2n);
      change('revoke', UDP);
      assert.equal(fragment(1, 16, tail, false), 'drop');
    });

    test('nobody says for another which ports its fragments have', () => {
      change('allow', UDP);
      const forged = { from: POD[family], to: PEER[family], fragment: { id: 7, offset: 0, more: true } };
      assert.equal(fragment(7, 0, { udp: [6000, 5300] }), pass.out);
      assert.equal(other.run('from_container', ip({ ...forged, payload: { udp: [6000, 5301] } })).verdict, 'drop');
      assert.equal(fragment(7, 16, tail, false), pass.out);
      change('revoke', UDP);
    });

    test('S10: a fragment whose first one is not known matches only entries that leave the port open', () => {
      change('allow', UDP);
      assert.equal(fragment(2, 16, tail, false), 'drop');
      const wide: TestRule = { direction: 'egress', protocol: PROTOCOL.UDP };
      change('allow', wide);
      assert.equal(fragment(2, 16, tail, false), pass.out);
      change('revoke', wide, UDP);
    });

    test('a first fragment without room for its ports is dropped', () => {
      change('allow', { direction: 'egress' });
      assert.equal(fragment(3, 0, { raw: Buffer.alloc(2), protocol: PROTOCOL.UDP }), 'drop');
      change('revoke', { direction: 'egress' });
    });

    test('the fragments of a large ping are one conversation', async () => {
      const rule: TestRule = { direction: 'egress', protocol: icmp, port: request };
      change('allow', rule);
      assert.equal(fragment(4, 0, { icmp: { type: request, id: 5 } }), pass.out);
      assert.equal(fragment(4, 1480, { raw: Buffer.alloc(64), protocol: icmp }, false), pass.out);
      assert.equal((await only()).forward.packets, 2n);
      change('revoke', rule);
    });
  });
}

test('a TCP header spread over two fragments is dropped', () => {
  change('allow', { direction: 'egress' });
  const frame = ip({
    from: POD.ipv4,
    to: PEER.ipv4,
    payload: { raw: Buffer.alloc(32), protocol: PROTOCOL.TCP },
    fragment: { id: 9, offset: 8, more: false },
  });
  assert.equal(pod.run('from_container', frame).verdict, 'drop');
  change('revoke', { direction: 'egress' });
});

describe('options and extension headers', () => {
  before(() => change('allow', EGRESS));
  after(() => change('revoke', EGRESS));
  const payload: Payload = { tcp: [4400, 80], flags: TCP.syn };
  const v6 = (options: number[], firstExtension: number, more: Payload = payload): string =>
    pod.run(
      'from_container',
      ip({ from: POD.ipv6, to: PEER.ipv6, payload: more, options: Buffer.from(options), firstExtension }),
    ).verdict;

  test('IPv4 options are stepped over', () => {
    const frame = ip({ from: POD.ipv4, to: PEER.ipv4, payload, options: Buffer.from([1, 1, 1, 0]) });
    assert.equal(pod.run('from_container', frame).verdict, pass.out);
  });
  test('IPv6 extension headers are stepped over', () => {
    assert.equal(v6([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0], 0), pass.out);
  });
  test('a chain that is cut off, or longer than any honest one, is dropped', () => {
    assert.equal(v6([60, 200, 1, 4, 0, 0, 0, 0], 0), 'drop');
    const link = [60, 0, 1, 4, 0, 0, 0, 0];
    assert.equal(v6([...link, ...link, ...link, ...link, ...link, ...link, 6, ...link.slice(1)], 60), 'drop');
  });
  test("the other family's ICMP is no protocol", () => {
    change('allow', { direction: 'egress' });
    assert.equal(v6([6, 0, 1, 4, 0, 0, 0, 0], 60), pass.out);
    const frame = ip({ from: POD.ipv4, to: PEER.ipv4, payload: { raw: Buffer.alloc(16), protocol: PROTOCOL.ICMPv6 } });
    assert.equal(pod.run('from_container', frame).verdict, 'drop');
    change('revoke', { direction: 'egress' });
  });
});
