/** Every kind of frame at every hook: whole ones pass where everything is allowed, each fault has its reason everywhere. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { BpfHostConfig, BpfLxcConfig } from '../../bpf/gen/config.ts';
import { AGGREGATE_NONE } from '../../bpf/gen/constants.ts';
import { ethernet, ip, quoteOf, TCP, type Fragment, type Payload } from './frame.ts';
import { ruleBytes, TestNode, type EndpointPrograms, type Ran, type TestRule } from './node.ts';

const HOST_ENDPOINT = 65535;
const HOST = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
const POD = { id: 31, identity: 1031, ipv4: '10.0.0.31', ipv6: 'fd00::31' } as const;
const PEER = { identity: 3000, ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;

type Family = 'ipv4' | 'ipv6';

/** What a node may be set to without a frame's outcome being another; but audit mode lets pass what policy denies. */
const SETTINGS = [
  { name: 'as it comes', config: {} },
  {
    name: 'tunnelled, traced and accounted',
    config: {
      ...{ tunnel: true, tunnelIfindex: 99, tunnelMtu: 1450, policyAccounting: true },
      ...{ traceEvents: true, traceAggregation: AGGREGATE_NONE, verdictEvents: false },
    },
  },
  { name: 'audited', config: { auditMode: true } },
] as const;

/** Of the setting whose turn it is. */
let node: TestNode;
let pod: EndpointPrograms;

async function start(config: Partial<BpfLxcConfig> & Partial<BpfHostConfig>): Promise<void> {
  node = await TestNode.start({ hostFirewall: true, endpointId: HOST_ENDPOINT, endpointIdentity: 1, ...config });
  pod = node.endpoint({ ...POD, config });
  for (const family of ['ipv4', 'ipv6'] as const) {
    node.ipcache(HOST[family], 1);
    node.ipcache(PEER[family], PEER.identity);
  }
  node.traced(true);
  counters = {};
}

/** A hook, whose ends it sees, and what it says of a packet that may pass. */
interface Hook {
  readonly name: string;
  readonly passes: string;
  readonly outward: boolean;
  readonly end: Readonly<Record<Family, string>>;
  readonly run: (frame: Buffer) => Ran;
}

const HOOKS: readonly Hook[] = [
  { name: 'from_container', passes: 'ok', outward: true, end: POD, run: (frame) => pod.run('from_container', frame) },
  { name: 'to_container', passes: 'ok', outward: false, end: POD, run: (frame) => pod.run('to_container', frame) },
  {
    name: 'policy_ingress',
    passes: 'redirect',
    outward: false,
    end: POD,
    run: (frame) => pod.run('policy_ingress', frame, { sourceIdentity: PEER.identity }),
  },
  {
    name: 'from_netdev',
    passes: 'next',
    outward: false,
    end: HOST,
    run: (frame) => node.runHost('from_netdev', frame),
  },
  { name: 'to_netdev', passes: 'next', outward: true, end: HOST, run: (frame) => node.runHost('to_netdev', frame) },
];

/** Allows `rule` in both directions, to pod and node, for as long as `check` runs. */
async function allowing(rule: Omit<TestRule, 'direction'>, check: () => Promise<void>): Promise<void> {
  const rules = (['ingress', 'egress'] as const).map((direction): TestRule => ({ direction, ...rule }));
  pod.allow(...rules);
  for (const each of rules) node.maps.weir_policy.update(...ruleBytes(each));
  const changed = (): void => [POD.id, HOST_ENDPOINT].forEach((id) => node.raiseRevision(id));
  changed();
  try {
    await check();
  } finally {
    pod.revoke(...rules);
    for (const each of rules) node.maps.weir_policy.delete(ruleBytes(each)[0]);
    changed();
  }
}

/** Drops counted so far. */
let counters: Record<string, number> = {};

/** The verdict on the last of some frames and, if it was dropped, why: by the one counter that moved. */
async function outcome(hook: Hook, frames: readonly Buffer[]): Promise<string> {
  const dropped = frames.slice(0, -1).filter((frame) => hook.run(frame).verdict !== hook.passes);
  assert.deepEqual(dropped, [], 'those before pass');
  const { verdict } = hook.run(frames.at(-1)!);
  if (verdict === hook.passes) return 'passes';
  const counted = await node.counters();
  const moved = Object.entries(counted).filter(
    ([name, count]) => !name.endsWith('DROP_NONE') && count !== (counters[name] ?? 0),
  );
  counters = counted;
  return `${verdict}: ${moved.map(([name]) => name.split(' ')[1]).join(', ')}`;
}

const dropped = (reason: string): string => `drop: DROP_${reason}`;
const cut = (bytes: number, protocol: number): Payload => ({ raw: Buffer.alloc(bytes), protocol });

/** One extension header of the usual form: next header, and its length in units of 8 bytes beyond the first. */
const extension = (next: number, units = 0): number[] => [next, units, ...Array<number>(6 + units * 8).fill(0)];
/** An authentication header, which counts words (RFC 4302 §2.2). */
const authentication = (next: number): number[] => [next, 4, ...Array<number>(22).fill(0)];

/** Frames between two ends and what becomes of the last one. */
type Case = readonly [what: string, expected: string, ...frames: Buffer[]];

function common(family: Family, from: string, to: string): Case[] {
  const [echo, reply, redirect, unreachable, icmp, foreign] =
    family === 'ipv4' ? [8, 0, 5, 3, 1, 58] : [128, 129, 138, 1, 58, 1];
  const frame = (payload: Payload, fragment?: Fragment): Buffer =>
    ip({ from, to, payload, ...(fragment === undefined ? {} : { fragment }) });
  const error = (quote: Uint8Array): Buffer => frame({ icmp: { type: unreachable, quote } });
  const back = (payload: Payload, fragment?: Fragment): Uint8Array =>
    quoteOf(ip({ from: to, to: from, payload, ...(fragment === undefined ? {} : { fragment }) }), 80);
  const syn = frame({ tcp: [4000, 80], flags: TCP.syn });
  const first: Fragment = { id: 77, offset: 0, more: true };
  return [
    ['TCP, opening', 'passes', syn],
    ['TCP, in the middle', 'passes', frame({ tcp: [4000, 80] })],
    ['TCP, opened again after RST', 'passes', syn, frame({ tcp: [4000, 80], flags: TCP.rst }), syn],
    ['TCP, both sides closed', 'passes', syn, frame({ tcp: [4000, 80], flags: TCP.fin | TCP.ack })],
    ['UDP', 'passes', frame({ udp: [4000, 53] })],
    ['UDP-Lite', 'passes', frame(cut(8, 136))],
    ['SCTP', 'passes', frame({ sctp: [4000, 80] })],
    ['DCCP', 'passes', frame(cut(12, 33))],
    ['ESP', 'passes', frame(cut(16, 50))],
    ['echo request', 'passes', frame({ icmp: { type: echo, id: 7 } })],
    ['echo reply that nobody asked for', 'passes', frame({ icmp: { type: reply, id: 7 } })],
    ['another ICMP message', 'passes', frame({ icmp: { type: redirect } })],
    ["the other family's ICMP", dropped('UNKNOWN_L4'), frame(cut(16, foreign))],
    ['TCP, cut off', dropped('CT_INVALID_HEADER'), frame(cut(19, 6))],
    ['UDP, cut off', dropped('CT_INVALID_HEADER'), frame(cut(3, 17))],
    ['ICMP, cut off', dropped('CT_INVALID_HEADER'), frame(cut(7, icmp))],
    ['error that quotes TCP', 'passes', syn, error(back({ tcp: [80, 4000] }))],
    ['error that quotes an echo request', 'passes', error(back({ icmp: { type: echo, id: 8 } }))],
    ['error that quotes an echo reply', 'passes', error(back({ icmp: { type: reply, id: 8 } }))],
    ['error that quotes another error', 'passes', error(back({ icmp: { type: unreachable } }))],
    ['error that quotes a later fragment', 'passes', error(back(cut(16, 17), { id: 1, offset: 64, more: false }))],
    ['error whose quote lacks an IP header', dropped('CT_INVALID_HEADER'), error(Buffer.alloc(12))],
    ['error whose quote lacks ports', dropped('CT_INVALID_HEADER'), error(back(cut(4, 17)))],
    ['first fragment', 'passes', frame({ udp: [4000, 53] }, first)],
    ['later fragment', 'passes', frame({ udp: [4000, 53] }, first), frame(cut(16, 17), { ...first, offset: 64 })],
    [
      'fragments of an echo',
      'passes',
      frame({ icmp: { type: echo } }, first),
      frame(cut(8, icmp), { ...first, offset: 16 }),
    ],
    ['later fragment of nothing known', 'passes', frame(cut(16, 17), { id: 99, offset: 64, more: false })],
    ['first fragment, cut off', dropped('CT_INVALID_HEADER'), frame(cut(3, 17), first)],
  ];
}

function ofIpv4(from: string, to: string): Case[] {
  const payload: Payload = { tcp: [4000, 80], flags: TCP.syn };
  const whole = ip({ from, to, payload });
  return [
    ['options', 'passes', ip({ from, to, payload, options: Buffer.from([1, 1, 1, 0]) })],
    [
      'ports and flags in different fragments (RFC 3128)',
      dropped('INVALID_PACKET'),
      ip({ from, to, payload: cut(32, 6), fragment: { id: 5, offset: 8, more: false } }),
    ],
    ['not IP at all', 'strange', ethernet(0x88cc, Buffer.alloc(46))],
    ['another version', 'strange', withByte(whole, 14, 0x65)],
    ['a header shorter than any', 'strange', withByte(whole, 14, 0x44)],
  ];
}

function ofIpv6(from: string, to: string): Case[] {
  const chain = (first: number, ...headers: number[][]): Buffer =>
    ip({
      from,
      to,
      payload: { tcp: [4000, 80], flags: TCP.syn },
      options: Buffer.from(headers.flat()),
      firstExtension: first,
    });
  const whole = ip({ from, to, payload: { tcp: [4000, 80] } });
  const six = Array.from({ length: 6 }, () => extension(60));
  return [
    ['hop-by-hop options', 'passes', chain(0, extension(6))],
    ['a long routing header', 'passes', chain(43, extension(6, 2))],
    ['destination options', 'passes', chain(60, extension(6))],
    ['mobility', 'passes', chain(135, extension(6))],
    ['authentication', 'passes', chain(51, authentication(6))],
    [
      'five in a row',
      'passes',
      chain(0, extension(43), extension(60), extension(51), authentication(135), extension(6)),
    ],
    ['an atomic fragment (RFC 6946)', 'passes', chain(44, [6, 0, 0, 0, 0, 0, 0, 1])],
    ['no next header', dropped('POLICY_DENIED'), chain(60, extension(59))],
    ['a chain that is cut off', dropped('INVALID_EXTENSION_HEADER'), chain(0, [60, 200, 0, 0, 0, 0, 0, 0])],
    ['more than any honest chain', dropped('INVALID_EXTENSION_HEADER'), chain(60, ...six, extension(6))],
    ['another version', 'strange', withByte(whole, 14, 0x45)],
  ];
}

function withByte(frame: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(frame);
  changed[at] = value;
  return changed;
}

/** What a hook says of frames that are no IP packets: pods' own may not be, what the host's stack sees is its to refuse. */
const STRANGE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  from_container: { '*': dropped('INVALID_PACKET'), 'not IP at all': dropped('UNSUPPORTED_L2') },
  to_container: { '*': dropped('INVALID_PACKET'), 'not IP at all': dropped('UNSUPPORTED_L2') },
  policy_ingress: { '*': dropped('INVALID_PACKET') },
  from_netdev: { '*': 'passes' },
  to_netdev: { '*': dropped('INVALID_PACKET'), 'not IP at all': 'passes' },
};

for (const { name, config } of SETTINGS) {
  const audited = 'auditMode' in config;
  describe(name, () => {
    before(() => start(config));
    after(() => node[Symbol.dispose]());
    beforeEach(() => node.forgetConnections());
    for (const hook of HOOKS) {
      for (const family of ['ipv4', 'ipv6'] as const) {
        const [from, to] = hook.outward ? [hook.end[family], PEER[family]] : [PEER[family], hook.end[family]];
        const groups: readonly (readonly [Omit<TestRule, 'direction'>, Case[]])[] = [
          [{}, common(family, from, to)],
          // Nobody finds the port who does not step over what stands before it.
          [{ protocol: 6, port: 80 }, family === 'ipv4' ? ofIpv4(from, to) : ofIpv6(from, to)],
        ];
        describe(`${hook.name}, ${family}`, () => {
          test('each frame has its outcome', async () => {
            const seen: Record<string, string> = {};
            const expected: Record<string, string> = {};
            for (const [rule, cases] of groups) {
              const run = async (): Promise<void> => {
                for (const [what, wanted, ...frames] of cases) {
                  await node.forgetConnections();
                  seen[what] = await outcome(hook, frames);
                  const strange = STRANGE[hook.name]!;
                  const outcomeOf = wanted === 'strange' ? (strange[what] ?? strange['*']!) : wanted;
                  expected[what] = audited && outcomeOf === dropped('POLICY_DENIED') ? 'passes' : outcomeOf;
                }
              };
              if (audited) await run();
              else await allowing(rule, run);
            }
            assert.deepEqual(seen, expected);
          });

          if (audited) return;
          test('errors about connections pass with them, others by policy only', async () => {
            const type = family === 'ipv4' ? 11 : 3;
            const pairs: Payload[] = [{ tcp: [80, 4000] }, { udp: [80, 4000] }, { sctp: [80, 4000] }];
            const open: Payload[] = [{ tcp: [4000, 80], flags: TCP.syn }, { udp: [4000, 80] }, { sctp: [4000, 80] }];
            const error = (quoted: Payload): Buffer =>
              ip({
                from,
                to,
                payload: { icmp: { type, quote: quoteOf(ip({ from: to, to: from, payload: quoted }), 60) } },
              });
            for (const [i, protocol] of [6, 17, 132].entries()) {
              await allowing({ protocol, port: 80 }, async () => {
                assert.equal(await outcome(hook, [error(pairs[i]!)]), dropped('POLICY_DENIED'), 'nobody spoke');
                assert.equal(await outcome(hook, [ip({ from, to, payload: open[i]! }), error(pairs[i]!)]), 'passes');
                [POD.id, HOST_ENDPOINT].forEach((id) => node.raiseRevision(id));
                assert.equal(await outcome(hook, [error(pairs[i]!)]), 'passes', 'allowed still');
              });
              assert.equal(await outcome(hook, [error(pairs[i]!)]), dropped('POLICY_DENIED'), 'no longer');
              await node.forgetConnections();
            }
          });
        });
      }
    }
  });
}
