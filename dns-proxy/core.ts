/** What UDP and TCP have in common: whose query it is, what becomes of it, and what the answer teaches. */
import type { Address } from '../agent/model/address.ts';
import { formatAddress } from '../agent/model/address.ts';
import { addressKey } from './address-key.ts';
import type { ProxySettings, QueryRecord } from './contract.ts';
import type { Counters } from './counters.ts';
import { decideAnswer, decideQuery, failure, type AnswerDecision } from './decide.ts';
import type { Endpoints, ProxyEndpoint } from './endpoints.ts';
import type { Lessons } from './lessons.ts';
import { RCODE } from './message/constants.ts';
import type { Lesson } from './message/addresses.ts';
import type { DnsQuery } from './message/message.ts';
import type { Records } from './records.ts';
import type { ServerIdentities } from './server-identities.ts';

/** One end of a conversation: the port in host order. */
export interface Peer {
  readonly address: Address;
  readonly port: number;
}

export const UDP = 17;
export const TCP = 6;

/** A query that its server has yet to answer. */
export interface Pending {
  readonly endpoint: ProxyEndpoint;
  readonly query: DnsQuery;
  readonly client: Peer;
  readonly server: Peer;
  readonly serverIdentity: number;
  readonly protocol: typeof UDP | typeof TCP;
  /** Milliseconds of performance.now(). */
  readonly began: number;
  /** When it went to the server. */
  readonly asked: number;
  /** Gives the client a message, which is copied before this returns. */
  readonly answer: (message: Uint8Array) => void;
  /** Whether it is over, one way or the other. */
  done: boolean;
}

/** A message as it came, and from where to where. */
export interface Incoming {
  readonly protocol: typeof UDP | typeof TCP;
  readonly client: Peer;
  readonly server: Peer;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly answer: (message: Uint8Array) => void;
  /** When it was read: milliseconds of performance.now(). */
  readonly began: number;
}

export interface CoreParts {
  readonly endpoints: Endpoints;
  readonly identities: ServerIdentities;
  readonly lessons: Lessons;
  readonly counters: Counters;
  readonly records: Records;
  readonly settings: () => ProxySettings;
}

export class Core {
  readonly #parts: CoreParts;

  constructor(parts: CoreParts) {
    this.#parts = parts;
  }

  /** Settings in force. */
  get settings(): ProxySettings {
    return this.#parts.settings();
  }

  get counters(): Counters {
    return this.#parts.counters;
  }

  endpointAt(address: Address): ProxyEndpoint | undefined {
    return this.#parts.endpoints.at(addressKey(address));
  }

  /** Decides about a query of `endpoint`: what is returned is to go to its server. `ignored`: there will be no answer. */
  receive(endpoint: ProxyEndpoint, message: Incoming): Pending | 'answered' | 'ignored' {
    const { endpoints, identities, counters } = this.#parts;
    const { reject, concurrencyPerEndpoint } = this.settings;
    const { server, protocol, bytes, start, end, began } = message;
    counters.add('received');
    let identity = 0;
    const decision = decideQuery(
      bytes,
      start,
      end,
      (name) => {
        identity = identities.of(server.address);
        return endpoints.decide(endpoint, { server: identity, protocol, port: server.port, name });
      },
      reject === 'refused' ? RCODE.REFUSED : RCODE.NXDOMAIN,
    );
    const asked = performance.now();
    counters.took('policyCheck', asked - began);
    if (decision.kind === 'ignore') {
      counters.add('parseErrors');
      return 'ignored';
    }
    if (decision.kind === 'answer') {
      const denied = decision.query !== undefined;
      counters.add(denied ? 'denied' : 'parseErrors');
      message.answer(decision.answer);
      if (decision.query) this.#recordQuery(endpoint, message, identity, decision.query, 'denied', decision.reason);
      return 'answered';
    }
    const { query } = decision;
    if (endpoint.inFlight >= concurrencyPerEndpoint) {
      counters.add('overloaded');
      message.answer(failure(query, bytes, start));
      this.#recordQuery(endpoint, message, identity, query, 'error', 'too many queries at once');
      return 'answered';
    }
    counters.add('forwarded');
    this.#recordQuery(endpoint, message, identity, query, 'forwarded');
    endpoint.inFlight++;
    const { client, answer } = message;
    return { endpoint, query, client, server, serverIdentity: identity, protocol, began, asked, answer, done: false };
  }

  /** Whether the bytes answer the query that went out under `id`; it is over then, and {@link deliver} is due. */
  judge(pending: Pending, id: number, bytes: Uint8Array, start: number, end: number): AnswerDecision {
    const decision = decideAnswer(bytes, start, end, id, pending.query);
    if (decision === undefined) this.counters.add('unsolicited');
    else this.#end(pending);
    return decision;
  }

  /** Gives an answer, with the client's own id, to the client: as soon as the kernel knows what it teaches. */
  deliver(pending: Pending, message: Uint8Array, { rcode, lesson }: NonNullable<AnswerDecision>): void {
    const { counters, lessons, records } = this.#parts;
    const received = performance.now();
    counters.took('upstream', received - pending.asked);
    const answered = (bytes: Uint8Array): void => {
      pending.answer(bytes);
      const now = performance.now();
      counters.took('processing', now - received + pending.asked - pending.began);
      counters.took('total', now - pending.began);
      if (records.watched) records.add(answerRecord(pending, rcode, lesson, now - pending.began));
    };
    if (lesson === undefined) {
      answered(message);
      return;
    }
    const origin = { endpoint: pending.endpoint.id, server: pending.server.address, port: pending.server.port };
    // Copied when it has to wait: the bytes are somebody's buffer. (Buffer's slice would not copy.)
    let kept: Uint8Array | undefined;
    if (lessons.learn(lesson, origin, () => answered(kept!))) answered(message);
    else kept = new Uint8Array(message);
  }

  /** No answer will come. `answer`: what the client hears of it, if anything. */
  fail(pending: Pending, reason: string, answer?: Uint8Array): void {
    if (pending.done) return;
    this.#end(pending);
    if (reason === TIMED_OUT) this.counters.add('timeouts');
    if (answer !== undefined) pending.answer(answer);
    const { records } = this.#parts;
    if (!records.watched) return;
    const milliseconds = performance.now() - pending.began;
    records.add({ ...recordOf(pending.endpoint, pending, pending.serverIdentity, pending.query), kind: 'answer', verdict: 'error', reason, milliseconds }); // prettier-ignore
  }

  /** Sends what was learned to the agent. */
  flush(): void {
    this.#parts.lessons.flush();
  }

  #end(pending: Pending): void {
    pending.done = true;
    pending.endpoint.inFlight--;
  }

  #recordQuery(
    endpoint: ProxyEndpoint,
    message: Incoming,
    identity: number,
    query: DnsQuery,
    verdict: QueryRecord['verdict'],
    reason?: string,
  ): void {
    const { records } = this.#parts;
    if (!records.watched) return;
    const record = recordOf(endpoint, message, identity, query);
    records.add({ ...record, kind: 'query', verdict, ...(reason !== undefined && { reason }) });
  }
}

export const TIMED_OUT = 'the server did not answer';

function recordOf(
  { id: endpoint }: ProxyEndpoint,
  { client, server, protocol }: Pick<Incoming, 'client' | 'server' | 'protocol'>,
  serverIdentity: number,
  { question }: DnsQuery,
): Omit<QueryRecord, 'kind' | 'verdict'> {
  return {
    ...{ time: Date.now(), endpoint, protocol, serverIdentity },
    ...{ client: formatAddress(client.address), clientPort: client.port },
    ...{ server: formatAddress(server.address), serverPort: server.port },
    ...{ name: question.name, type: question.type },
  };
}

function answerRecord(pending: Pending, rcode: number, lesson: Lesson | undefined, milliseconds: number): QueryRecord {
  const record = recordOf(pending.endpoint, pending, pending.serverIdentity, pending.query);
  const taught = lesson && { ttl: lesson.ttl, addresses: lesson.addresses.map(formatAddress), aliases: lesson.aliases };
  return { ...record, kind: 'answer', verdict: 'forwarded', rcode, milliseconds, ...taught };
}
