/** The kernel's own lookup: real programs on a real policy map, packet by packet (`BPF_PROG_TEST_RUN`). */
import assert from 'node:assert/strict';
import { encodePolicyEntry, encodePolicyKey } from '../../agent/datapath/maps/policymap.ts';
import { identityId } from '../../agent/model/identity.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import type { LookupResult } from '../../agent/policy/contract.ts';
import { DROP_AUTH_REQUIRED, DROP_NO_PROXY, DROP_POLICY_DENIED, DROP_POLICY_DENY } from '../../bpf/gen/drops.ts';
import { ip, TCP, type Payload } from '../datapath/frame.ts';
import { TestNode, type EndpointPrograms } from '../datapath/node.ts';
import type { Followed } from './policy-check.ts';
import { PROBE_IDENTITIES, type Probe } from './policy-cases.ts';

const POD = { id: 41, identity: 1041, ipv4: '10.200.0.41', ipv6: 'fd00:200::41' };

/** Source ports of probes; every probe is a connection of its own, so that none is judged by conntrack. */
const FIRST_PORT = 1024;
const LAST_PORT = 65535;

/** An endpoint whose policy map takes one map state after another. */
export class PolicyKernel implements Disposable {
  readonly #node: TestNode;
  readonly #pod: EndpointPrograms;
  #port = FIRST_PORT;

  private constructor(node: TestNode) {
    this.#node = node;
    this.#pod = node.endpoint({ ...POD, config: { dropEvents: false } });
    for (const identity of PROBE_IDENTITIES) node.ipcache(addressOf(identity), identity);
    node.events();
  }

  static async start(): Promise<PolicyKernel> {
    return new PolicyKernel(await TestNode.start());
  }

  [Symbol.dispose](): void {
    this.#node[Symbol.dispose]();
  }

  /** @throws AssertionError where the kernel decides a probe otherwise than the twin, or by another entry. */
  async check({ policy, map }: Followed, probes: readonly Probe[]): Promise<void> {
    const rows = [...map.values()].map(
      ([key, entry]) => [encodePolicyKey(key), encodePolicyEntry(key, entry)] as const,
    );
    for (const [key, value] of rows) this.#pod.policy.update(key, value);
    try {
      for (const probe of probes) {
        const { direction, peer, protocol, port } = probe;
        const payload = payloadOf(protocol, port, await this.#nextPort());
        if (payload === undefined) continue;
        const wanted = policy.mapState.lookup(direction, identityId(peer), protocol, port);
        assert.deepEqual(
          this.#ask(probe, payload),
          answerOf(wanted),
          `program, twin: ${direction} ${peer} ${protocol}/${port}`,
        );
      }
    } finally {
      for (const [key] of rows) this.#pod.policy.delete(key);
    }
  }

  #ask({ direction, peer }: Probe, payload: Payload): Answer {
    const address = addressOf(peer);
    if (direction === 'ingress') {
      this.#pod.run('policy_ingress', ip({ from: address, to: POD.ipv4, payload }), { sourceIdentity: peer });
    } else {
      this.#pod.run('from_container', ip({ from: POD.ipv4, to: address, payload }));
    }
    const [said, ...more] = this.#node.events();
    assert.ok(said !== undefined && more.length === 0, 'program: it judges each packet once');
    const { reason, cookie, proxyPort, authType } = said;
    // Whether a proxy stands ready is not the policy's question.
    return { reason: reason === DROP_NO_PROXY ? 0 : reason, cookie, proxyPort, authType };
  }

  /** When all ports were used, what is known of connections is forgotten. */
  async #nextPort(): Promise<number> {
    if (this.#port < LAST_PORT) return this.#port++;
    this.#port = FIRST_PORT;
    await this.#node.forgetConnections();
    return this.#port++;
  }
}

interface Answer {
  readonly reason: number;
  readonly cookie: number;
  readonly proxyPort: number;
  readonly authType: number;
}

/** What the kernel has to say where the twin says this: nobody is authenticated here. */
function answerOf({ verdict, entry }: LookupResult): Answer {
  if (entry === undefined) return { reason: DROP_POLICY_DENIED, cookie: 0, proxyPort: 0, authType: 0 };
  const { cookie, proxyPort, authType: wanted } = entry;
  if (verdict !== 'allow') return { reason: DROP_POLICY_DENY, cookie, proxyPort: 0, authType: 0 };
  const authType = wanted === AUTH_DISABLED ? 0 : wanted;
  const passes = entry.audited === true ? DROP_POLICY_DENIED : 0;
  return { reason: authType === 0 ? passes : DROP_AUTH_REQUIRED, cookie, proxyPort, authType };
}

const AUTH_DISABLED = 255;

/** A packet that opens a connection; undefined for what no IPv4 packet asks. */
function payloadOf(protocol: number, port: number, from: number): Payload | undefined {
  if (protocol === PROTOCOL.TCP) return { tcp: [from, port], flags: TCP.syn };
  if (protocol === PROTOCOL.UDP) return { udp: [from, port] };
  if (protocol === PROTOCOL.SCTP) return { sctp: [from, port] };
  // The kernel answers other types than requests by what they reply to.
  if (protocol === PROTOCOL.ICMP && port === ECHO_REQUEST) return { icmp: { type: port, id: from } };
  return undefined;
}

const ECHO_REQUEST = 8;

function addressOf(identity: number): string {
  return `10.201.${PROBE_IDENTITIES.indexOf(identity)}.1`;
}
