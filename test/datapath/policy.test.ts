/** What the kernel decides on the first packet of a connection, rule by rule. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PROTOCOL } from '../../agent/model/port.ts';
import { ip, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type TestRule } from './node.ts';

const POD = { id: 7, identity: 1007, ipv4: '10.0.0.7', ipv6: 'fd00::7' };
const PEER = 2000;
const OTHER = 2001;
const PEERS = { ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;

interface Case {
  readonly name: string;
  readonly rules: readonly TestRule[];
  readonly payload: Payload;
  readonly expect: string;
}

const tcp80: Payload = { tcp: [40000, 80], flags: TCP.syn };
const udp53: Payload = { udp: [40000, 53] };
const [T, U] = [PROTOCOL.TCP, PROTOCOL.UDP];
const rule = (rest: Omit<TestRule, 'direction'>): TestRule => ({ direction: 'egress', ...rest });

/** Written for egress and TCP or UDP; each runs in both directions and both families. */
const CASES: readonly Case[] = [
  { name: 'an empty map denies', rules: [], payload: tcp80, expect: 'DROP_POLICY_DENIED' },
  { name: 'the wildcard entry allows', rules: [rule({})], payload: tcp80, expect: 'DROP_NONE' },
  { name: 'the identity is allowed', rules: [rule({ identity: PEER })], payload: tcp80, expect: 'DROP_NONE' },
  {
    name: 'another identity is allowed',
    rules: [rule({ identity: OTHER })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENIED',
  },
  { name: 'the protocol is allowed', rules: [rule({ protocol: T })], payload: tcp80, expect: 'DROP_NONE' },
  { name: 'another protocol is allowed', rules: [rule({ protocol: U })], payload: tcp80, expect: 'DROP_POLICY_DENIED' },
  {
    name: 'the port is allowed',
    rules: [rule({ identity: PEER, protocol: T, port: 80 })],
    payload: tcp80,
    expect: 'DROP_NONE',
  },
  {
    name: 'the next port is allowed',
    rules: [rule({ protocol: T, port: 81 })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENIED',
  },
  {
    name: 'the port lies in a range',
    rules: [rule({ protocol: T, port: 64, portPrefix: 11 })],
    payload: tcp80,
    expect: 'DROP_NONE',
  },
  {
    name: 'the port lies past a range',
    rules: [rule({ protocol: T, port: 64, portPrefix: 12 })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENIED',
  },
  {
    name: 'the other direction is allowed',
    rules: [{ direction: 'ingress' }],
    payload: tcp80,
    expect: 'DROP_POLICY_DENIED',
  },
  {
    name: 'S7: higher precedence of the wildcard allows past a denial of the identity',
    rules: [rule({ identity: PEER, deny: true, precedence: 1 }), rule({ precedence: 2 })],
    payload: tcp80,
    expect: 'DROP_NONE',
  },
  {
    name: 'S7: higher precedence of the identity denies past a wildcard',
    rules: [rule({ identity: PEER, deny: true, precedence: 2 }), rule({ precedence: 1 })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENY',
  },
  {
    name: 'S7: on a tie the denial wins, though the allow is longer',
    rules: [rule({ deny: true }), rule({ identity: PEER, protocol: T, port: 80 })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENY',
  },
  {
    name: 'S7: on a tie the denial of the identity wins',
    rules: [rule({ identity: PEER, deny: true }), rule({ protocol: T, port: 80 })],
    payload: tcp80,
    expect: 'DROP_POLICY_DENY',
  },
  {
    name: 'S7: between two allows the longer one decides: the redirect of the wildcard has no proxy',
    rules: [rule({ identity: PEER }), rule({ protocol: T, port: 80, proxyPort: 15001 })],
    payload: tcp80,
    expect: 'DROP_NO_PROXY',
  },
  {
    name: 'S7: all else equal the identity decides',
    rules: [rule({ identity: PEER, protocol: T, port: 80 }), rule({ protocol: T, port: 80, proxyPort: 15001 })],
    payload: tcp80,
    expect: 'DROP_NONE',
  },
  {
    name: 'precedence is unsigned 32 bits',
    rules: [rule({ identity: PEER, deny: true, precedence: 1 }), rule({ precedence: 0xffff_ffff })],
    payload: tcp80,
    expect: 'DROP_NONE',
  },
  {
    name: 'authentication is required',
    rules: [rule({ authType: 1, authExplicit: true })],
    payload: udp53,
    expect: 'DROP_AUTH_REQUIRED',
  },
  {
    name: 'authentication is explicitly off',
    rules: [rule({ authType: 255, authExplicit: true })],
    payload: udp53,
    expect: 'DROP_NONE',
  },
  {
    name: 'S11: the deciding entry says itself what authentication it takes: the wildcard beside it adds none',
    rules: [rule({ identity: PEER, protocol: U, port: 53 }), rule({ protocol: U, authType: 1, authExplicit: true })],
    payload: udp53,
    expect: 'DROP_NONE',
  },
  {
    name: 'S11: inherited or not, the authentication of the deciding entry is required',
    rules: [rule({ identity: PEER, protocol: U, port: 53, authType: 1 }), rule({ protocol: U })],
    payload: udp53,
    expect: 'DROP_AUTH_REQUIRED',
  },
  {
    name: 'SCTP has ports',
    rules: [rule({ protocol: PROTOCOL.SCTP, port: 3868 })],
    payload: { sctp: [5000, 3868] },
    expect: 'DROP_NONE',
  },
  {
    name: 'a protocol without ports is matched by number',
    rules: [rule({ protocol: 47 })],
    payload: { raw: Buffer.alloc(16), protocol: 47 },
    expect: 'DROP_NONE',
  },
  {
    name: 'a TCP header that is cut off',
    rules: [rule({})],
    payload: { raw: Buffer.alloc(8), protocol: T },
    expect: 'DROP_CT_INVALID_HEADER',
  },
];

const turned = (rules: readonly TestRule[]): TestRule[] =>
  rules.map((r) => ({ ...r, direction: r.direction === 'egress' ? 'ingress' : 'egress' }));

let node: TestNode;
let pod: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  for (const address of Object.values(PEERS)) node.ipcache(address, PEER);
});
after(() => node[Symbol.dispose]());

/** A source port of its own for every packet, so that each is the first of its connection. */
let fresh = 1024;
function freshPayload(payload: Payload): Payload {
  fresh++;
  if ('tcp' in payload) return { ...payload, tcp: [fresh, payload.tcp[1]] };
  if ('udp' in payload) return { ...payload, udp: [fresh, payload.udp[1]] };
  if ('sctp' in payload) return { ...payload, sctp: [fresh, payload.sctp[1]] };
  return payload;
}

/** Runs one packet; the answer is the reason that was counted. */
async function judged(run: () => { verdict: string }, direction: 'ingress' | 'egress'): Promise<string> {
  const before = await node.counters();
  const { verdict } = run();
  const after = await node.counters();
  const changed = Object.keys(after).filter((name) => after[name] !== before[name]);
  assert.equal(changed.length, 1, `counted ${changed.join(', ')}`);
  const [counted, reason] = changed[0]!.split(' ') as [string, string];
  assert.equal(counted, direction);
  assert.equal(verdict === 'drop', reason !== 'DROP_NONE');
  return reason;
}

async function withRules<T>(rules: readonly TestRule[], run: () => Promise<T>): Promise<T> {
  pod.allow(...rules);
  node.raiseRevision(POD.id);
  try {
    return await run();
  } finally {
    pod.revoke(...rules);
    node.raiseRevision(POD.id);
    await node.forgetConnections();
  }
}

for (const family of ['ipv4', 'ipv6'] as const) {
  describe(`policy, ${family}`, () => {
    for (const { name, rules, payload, expect } of CASES) {
      test(`egress: ${name}: ${expect}`, () =>
        withRules(rules, async () => {
          const frame = ip({ from: POD[family], to: PEERS[family], payload: freshPayload(payload) });
          assert.equal(await judged(() => pod.run('from_container', frame), 'egress'), expect);
        }));
      test(`ingress: ${name}: ${expect}`, () =>
        withRules(turned(rules), async () => {
          const frame = ip({ from: PEERS[family], to: POD[family], payload: freshPayload(payload) });
          const run = (): { verdict: string } => pod.run('policy_ingress', frame, { sourceIdentity: PEER });
          assert.equal(await judged(run, 'ingress'), expect);
        }));
    }

    test('S10: an ICMP type stands in the port', () => {
      const protocol = family === 'ipv4' ? PROTOCOL.ICMP : PROTOCOL.ICMPv6;
      const type = family === 'ipv4' ? 8 : 128;
      const echo = (id: number): Buffer =>
        ip({ from: POD[family], to: PEERS[family], payload: { icmp: { type, id } } });
      return withRules([rule({ protocol, port: type })], async () => {
        assert.equal(await judged(() => pod.run('from_container', echo(1)), 'egress'), 'DROP_NONE');
        const timestamp = ip({
          from: POD[family],
          to: PEERS[family],
          payload: { icmp: { type: family === 'ipv4' ? 13 : 139, id: 2 } },
        });
        assert.equal(await judged(() => pod.run('from_container', timestamp), 'egress'), 'DROP_POLICY_DENIED');
      });
    });

    test('audit mode forwards what policy denies, and nothing else', async () => {
      const ghost = { id: 8, identity: 1008, ipv4: '10.0.0.8', ipv6: 'fd00::8', config: { auditMode: true } };
      const audited = node.endpoint(ghost);
      const syn = (port: number): Buffer =>
        ip({ from: ghost[family], to: PEERS[family], payload: { tcp: [41000, port], flags: TCP.syn } });
      assert.equal(await judged(() => audited.run('from_container', syn(1)), 'egress'), 'DROP_NONE');
      audited.allow(rule({ protocol: T, port: 2, deny: true }), rule({ protocol: T, port: 3, proxyPort: 9 }));
      assert.equal(await judged(() => audited.run('from_container', syn(2)), 'egress'), 'DROP_NONE');
      assert.equal(await judged(() => audited.run('from_container', syn(3)), 'egress'), 'DROP_NO_PROXY');
      const spoofed = ip({ from: PEERS[family], to: ghost[family], payload: tcp80 });
      assert.equal(await judged(() => audited.run('from_container', spoofed), 'egress'), 'DROP_INVALID_SOURCE_IP');
    });

    test('an entry of an audit changes no verdict: not of proxies, not of authentication', () =>
      withRules(
        [
          rule({ protocol: T, port: 80, audited: true }),
          rule({ protocol: T, port: 3, audited: true, proxyPort: 9 }),
          rule({ protocol: T, port: 4, audited: true, authType: 1 }),
        ],
        async () => {
          const syn = (port: number): Buffer =>
            ip({ from: POD[family], to: PEERS[family], payload: { tcp: [42000 + port, port], flags: TCP.syn } });
          assert.equal(await judged(() => pod.run('from_container', syn(80)), 'egress'), 'DROP_NONE');
          assert.equal(await judged(() => pod.run('from_container', syn(3)), 'egress'), 'DROP_NO_PROXY');
          assert.equal(await judged(() => pod.run('from_container', syn(4)), 'egress'), 'DROP_AUTH_REQUIRED');
        },
      ));

    test('lockdown lets nothing pass, in either direction, and ends when it ends', () =>
      withRules([rule({}), { direction: 'ingress' }], async () => {
        const out = ip({ from: POD[family], to: PEERS[family], payload: freshPayload(tcp80) });
        const back = ip({ from: PEERS[family], to: POD[family], payload: freshPayload(tcp80) });
        const into = (): { verdict: string } => pod.run('policy_ingress', back, { sourceIdentity: PEER });
        for (const id of [POD.id, 0]) {
          node.lockdown(id, true);
          assert.equal(await judged(() => pod.run('from_container', out), 'egress'), 'DROP_LOCKDOWN');
          assert.equal(await judged(into, 'ingress'), 'DROP_LOCKDOWN');
          node.lockdown(id, false);
          assert.equal(await judged(() => pod.run('from_container', out), 'egress'), 'DROP_NONE');
        }
      }));
  });
}
