/**
 * Nanoseconds of one packet in a program, by BPF_PROG_TEST_RUN: the least of many rounds, less what an empty program costs
 * in the same run. Drops and verdicts are not reported, as they are not for all but the first packets of a connection, and
 * nobody listens to traces, but where a row says so.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BandwidthMap } from '../../agent/datapath/maps/bandwidth.ts';
import { RevisionMap } from '../../agent/datapath/maps/revision.ts';
import { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { programTestRun } from '../../agent/kernel/test-run.ts';
import { limitOf, NO_LIMITS } from '../../agent/model/bandwidth.ts';
import { endpointId } from '../../agent/model/endpoint.ts';
import { DIRECTION_EGRESS } from '../../bpf/gen/constants.ts';
import { MAPS, type MapName } from '../../bpf/gen/maps.ts';
import { compileBpf } from '../../hack/bpf-compile.ts';
import { ip, TCP, type Payload } from '../datapath/frame.ts';
import { EndpointPrograms, MAX_ENTRIES, runProgram, TestNode, type TestRule } from '../datapath/node.ts';
import type { Bench } from './suite.ts';

const ROUNDS = 60;
const REPEAT = 10_000;
/** Runs of a packet that is reported: their events fit into the test node's buffer. */
const REPEAT_REPORTED = 500;
/** Entries of a large policy map. */
const MANY = 16_000;

const A = { id: 1, identity: 1001, ipv4: '10.0.0.1', ipv6: 'fd00::1' };
const B = { id: 2, identity: 1002, ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const C = { id: 3, identity: 1003, ipv4: '10.0.0.3', ipv6: 'fd00::3' };
const PEER = { identity: 3000, ipv4: '10.2.0.1', ipv6: 'fd02::1' };
const QUIET = { dropEvents: false, verdictEvents: false, traceEvents: true };
const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];
type Addresses = Readonly<Record<Family, string>>;

/** Two programs of no interest in themselves: one does nothing, one only asks the policy. */
const source = (bpf: string): string => `
#include "${bpf}/lib/policy.h"
SEC("tc") int empty(struct __sk_buff *skb) { return 0; }
SEC("tc") int lookup(struct __sk_buff *skb)
{
	struct policy_question question = {
		.identity = skb->cb[0],
		.port = bpf_htons(80),
		.direction = ${DIRECTION_EGRESS},
		.protocol = IPPROTO_TCP,
		.port_known = true,
	};
	struct policy_answer answer = {};

	policy_lookup(&question, &answer);
	return answer.reason;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
`;

async function loadProbe(node: TestNode): Promise<BpfObject> {
  const folder = mkdtempSync(path.join(tmpdir(), 'weir-packet-cost-'));
  const [from, to] = [path.join(folder, 'probe.c'), path.join(folder, 'probe.o')];
  try {
    writeFileSync(from, source(path.resolve(import.meta.dirname, '../../bpf')));
    await compileBpf(from, to);
    const names = (Object.keys(MAPS) as MapName[]).filter((name) => MAPS[name].pinned);
    const pins = Object.fromEntries(names.map((name) => [name, path.join(node.bpfRoot, name)]));
    return BpfObject.load({ name: 'probe', elf: readFileSync(to), pins, maxEntries: MAX_ENTRIES });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const many: readonly TestRule[] = Array.from({ length: MANY }, (_, i) => ({
  direction: 'egress',
  identity: 5000 + i,
  protocol: 6,
  port: 80,
}));

const UDP: Payload = { udp: [4000, 53] };
const ESTABLISHED: Payload = { tcp: [4000, 80], flags: TCP.ack };
/** Opens a connection and ends it at once, so that the next such packet opens another, whose entry replaces the last one's. */
const OPENING: Payload = { tcp: [4001, 80], flags: TCP.syn | TCP.rst };
/** A timestamp request and a node information query are not tracked: every one is judged. */
const UNTRACKED: Readonly<Record<Family, Payload>> = { ipv4: { icmp: { type: 13 } }, ipv6: { icmp: { type: 139 } } };

/** Takes the rows of the table, one after the other. */
class Meter {
  readonly #rounds: number;
  readonly #print: (line: string) => void;
  /** What it takes to run a program that does nothing. */
  readonly #baseline: number;

  constructor(probe: BpfObject, rounds: number, print: (line: string) => void) {
    this.#rounds = rounds;
    this.#print = print;
    const { fd } = probe.program('empty');
    const data = ip({ from: A.ipv4, to: PEER.ipv4, payload: UDP });
    this.#baseline = this.least(() => programTestRun(fd, { data, repeat: REPEAT }).durationNs);
    print(`| packet (an empty program: ${this.#baseline} ns) | IPv4 | IPv6 |`);
    print('|---|---|---|');
  }

  least(run: () => number): number {
    return Math.min(...Array.from({ length: this.#rounds }, run));
  }

  row(what: string, run: (family: Family) => number): void {
    const cells = FAMILIES.map((family) => String(this.least(() => run(family)) - this.#baseline));
    this.#print(`| ${what} | ${cells.join(' | ')} |`);
  }

  /** A row that does not depend on the family. */
  single(what: string, run: () => number): void {
    this.#print(`| ${what} | ${this.least(run) - this.#baseline} | |`);
  }
}

/** What `from` sends to `to`, in its program. */
const sends =
  (programs: EndpointPrograms, payload: Payload, to: Addresses = PEER, from: Addresses = A, repeat = REPEAT) =>
  (family: Family): number =>
    programs.run('from_container', ip({ from: from[family], to: to[family], payload }), { repeat }).nanoseconds;

/** What another program has for A. */
const gets =
  (programs: EndpointPrograms, payload: Payload, from: Addresses = PEER) =>
  (family: Family): number =>
    programs.run('policy_ingress', ip({ from: from[family], to: A[family], payload }), { repeat: REPEAT }).nanoseconds;

export const bench: Bench = {
  name: 'packet-cost',
  title: `nanoseconds a packet above an empty program, least of ${ROUNDS} rounds of ${REPEAT}`,
  async run(print, { quick }) {
    using node = await TestNode.start();
    using probe = await loadProbe(node);
    for (const address of [PEER.ipv4, PEER.ipv6]) node.ipcache(address, PEER.identity);
    const [a, b] = [A, B].map((endpoint) => node.endpoint({ ...endpoint, config: QUIET })) as [
      EndpointPrograms,
      EndpointPrograms,
    ];
    const c = node.endpoint({ ...C, config: { dropEvents: false } });
    const meter = new Meter(probe, quick ? 2 : ROUNDS, print);
    lookups(meter, probe);
    meter.row('spoofed source: dropped', sends(a, UDP, PEER, B));
    meter.row('denied by an empty policy', sends(a, UDP));
    a.allow(...many);
    meter.row(`denied by a policy of ${MANY} entries`, sends(a, UDP));
    a.revoke(...many);
    a.allow({ direction: 'egress', identity: PEER.identity });
    a.allow({ direction: 'egress', identity: B.identity }, { direction: 'egress', protocol: 132 });
    b.allow({ direction: 'ingress', identity: A.identity });
    c.allow({ direction: 'egress', identity: PEER.identity });
    node.raiseRevision(0);
    meter.row('established, to the host stack', sends(a, ESTABLISHED));
    meter.row('established, reply into the pod, delivered', gets(a, { tcp: [80, 4000], flags: TCP.ack }));
    meter.row('established, pod to pod: both policies, delivered', sends(a, ESTABLISHED, B));
    node.traced(true);
    meter.row('established, traced at medium aggregation', sends(a, ESTABLISHED));
    node.traced(false);
    limitEgress(node, A.id, true);
    meter.row('established, with a limit of bandwidth', sends(a, ESTABLISHED));
    limitEgress(node, A.id, false);
    meter.row('judged: ipcache and policy, not tracked', (family) => sends(a, UNTRACKED[family])(family));
    meter.row('new connection: service?, ipcache, policy, tracked', sends(a, OPENING));
    meter.row('new connection, reported', (family) => {
      node.events();
      return sends(c, OPENING, PEER, C, REPEAT_REPORTED)(family);
    });
    a.allow(...many);
    meter.row(`judged by ${MANY} entries`, (family) => sends(a, UNTRACKED[family])(family));
    meter.row(`established, with ${MANY} entries`, sends(a, ESTABLISHED));
    meter.row(`new connection, with ${MANY} entries`, sends(a, OPENING));
  },
};

/** A limit that is never reached. */
function limitEgress(node: TestNode, id: number, on: boolean): void {
  const limits = new BandwidthMap(node.maps.weir_bandwidth, new RevisionMap(node.maps.weir_revision));
  limits.set(endpointId(id), on ? { egress: limitOf(1e15) } : NO_LIMITS);
}

/** The policy lookup by itself: two searches of the trie. */
function lookups(meter: Meter, probe: BpfObject): void {
  const { fd } = probe.program('lookup');
  const programs = new EndpointPrograms(probe);
  const frame = ip({ from: A.ipv4, to: PEER.ipv4, payload: UDP });
  const asks = (identity: number) => (): number =>
    runProgram(fd, frame, { sourceIdentity: identity, repeat: REPEAT }).nanoseconds;
  const [first] = many;
  programs.allow(first!);
  meter.single('policy lookup, in a map of one entry', asks(first!.identity!));
  programs.allow(...many);
  meter.single(`policy lookup, in a map of ${MANY} entries`, asks(first!.identity!));
  meter.single(`policy lookup, in a map of ${MANY} entries, in vain`, asks(PEER.identity));
  programs.revoke(...many);
}
