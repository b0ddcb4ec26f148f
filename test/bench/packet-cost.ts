/**
 * Nanoseconds of one packet in a program, by BPF_PROG_TEST_RUN: the least of many rounds, less what an empty program costs
 * in the same run. Drops and verdicts are not reported, as they are not for all but the first packets of a connection; traces
 * are as they are by default, and nobody listens but where a row says so.
 */
import { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { programTestRun } from '../../agent/kernel/test-run.ts';
import { compileBpf } from '../../agent/kernel/testbed.ts';
import { ip, TCP, type Payload } from '../datapath/frame.ts';
import { TestNode, type EndpointPrograms, type TestRule } from '../datapath/node.ts';
import type { Bench } from './suite.ts';

const ROUNDS = 60;
const REPEAT = 10_000;
/** Entries of a large policy map. */
const MANY = 16_000;

const A = { id: 1, identity: 1001, ipv4: '10.0.0.1', ipv6: 'fd00::1' };
const B = { id: 2, identity: 1002, ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const PEER = { identity: 3000, ipv4: '10.2.0.1', ipv6: 'fd02::1' };
const QUIET = { dropEvents: false, verdictEvents: false, traceEvents: true };

const least = (run: () => number): number => Math.min(...Array.from({ length: ROUNDS }, run));

function emptyProgram(): number {
  const source = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int empty(struct __sk_buff *skb) { return 0; }`;
  using object = BpfObject.load({ name: 'empty', elf: compileBpf(source) });
  const { fd } = object.program('empty');
  const data = ip({ from: A.ipv4, to: PEER.ipv4, payload: { udp: [1, 2] } });
  return least(() => programTestRun(fd, { data, repeat: REPEAT }).durationNs);
}

/** An endpoint's programs and the packets that it sends or gets. */
class Subject {
  readonly #programs: EndpointPrograms;
  readonly #family: 'ipv4' | 'ipv6';
  readonly #baseline: number;

  constructor(programs: EndpointPrograms, family: 'ipv4' | 'ipv6', baseline: number) {
    this.#programs = programs;
    this.#family = family;
    this.#baseline = baseline;
  }

  sends(payload: Payload, to: { ipv4: string; ipv6: string } = PEER, from = A): number {
    const frame = ip({ from: from[this.#family], to: to[this.#family], payload });
    return least(() => this.#programs.run('from_container', frame, { repeat: REPEAT }).nanoseconds) - this.#baseline;
  }

  gets(payload: Payload): number {
    const frame = ip({ from: PEER[this.#family], to: A[this.#family], payload });
    return least(() => this.#programs.run('policy_ingress', frame, { repeat: REPEAT }).nanoseconds) - this.#baseline;
  }
}

const many: readonly TestRule[] = Array.from({ length: MANY }, (_, i) => ({
  direction: 'egress',
  identity: 5000 + i,
  protocol: 6,
  port: 80,
}));

export const bench: Bench = {
  name: 'packet-cost',
  title: `nanoseconds a packet above an empty program, least of ${ROUNDS} rounds of ${REPEAT}`,
  async run(print) {
    using node = await TestNode.start();
    for (const address of [PEER.ipv4, PEER.ipv6]) node.ipcache(address, PEER.identity);
    const [a, b] = [A, B].map((endpoint) => node.endpoint({ ...endpoint, config: QUIET })) as [
      EndpointPrograms,
      EndpointPrograms,
    ];
    const baseline = emptyProgram();
    print(`an empty program: ${baseline} ns`);
    print(`${'packet'.padEnd(58)}${'IPv4'.padStart(6)}${'IPv6'.padStart(6)}`);
    const row = (what: string, measure: (subject: Subject, family: 'ipv4' | 'ipv6') => number): void => {
      const figures = (['ipv4', 'ipv6'] as const).map((family) => measure(new Subject(a, family, baseline), family));
      print(`${what.padEnd(58)}${figures.map((ns) => String(ns).padStart(6)).join('')}`);
    };
    const udp: Payload = { udp: [4000, 53] };
    const tcp: Payload = { tcp: [4000, 80], flags: TCP.ack };
    row('spoofed source: dropped', (s) => s.sends(udp, PEER, B));
    row('denied by an empty policy', (s) => s.sends(udp));
    a.allow(...many);
    row(`denied by a policy of ${MANY} entries`, (s) => s.sends(udp));
    a.revoke(...many);
    a.allow(
      { direction: 'egress', identity: PEER.identity },
      { direction: 'egress', identity: B.identity },
      { direction: 'egress', protocol: 132 },
    );
    b.allow({ direction: 'ingress', identity: A.identity });
    node.raiseRevision(0);
    row('established, to the host stack', (s) => s.sends(tcp));
    row('established, reply into the pod, delivered', (s) => s.gets({ tcp: [80, 4000], flags: TCP.ack }));
    row('established, pod to pod: both policies, delivered', (s) => s.sends(tcp, B));
    node.traced(true);
    row('established, traced at medium aggregation', (s) => s.sends(tcp));
    node.traced(false);
    // A timestamp request and a node information query are not tracked: every one is judged.
    const untracked = (family: 'ipv4' | 'ipv6'): Payload => ({ icmp: { type: family === 'ipv4' ? 13 : 139 } });
    row('judged: ipcache and policy, not tracked', (s, family) => s.sends(untracked(family)));
    a.allow(...many);
    row(`judged by ${MANY} entries`, (s, family) => s.sends(untracked(family)));
    row(`established, with ${MANY} entries`, (s) => s.sends(tcp));
  },
};
