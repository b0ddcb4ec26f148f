/**
 * What endpoints have learned, and the answers that wait until the kernel knows it. An answer with nothing new does not wait;
 * one with something new goes out when the agent says that it is done, or at its deadline.
 */
import type { Address } from '../agent/model/address.ts';
import { formatAddress } from '../agent/model/address.ts';
import { addressKey, type AddressKey } from './address-key.ts';
import type { LearnedAnswer, LearnTimes } from './contract.ts';
import type { Counters } from './counters.ts';
import type { Lesson } from './message/addresses.ts';

/** Where a lesson comes from, and whose it is. */
export interface LessonOrigin {
  readonly endpoint: number;
  readonly server: Address;
  readonly port: number;
}

/** The addresses of one name for one endpoint. */
interface Lease {
  readonly addresses: Map<AddressKey, { readonly text: string; until: number }>;
  last: Omit<LearnedAnswer, 'id' | 'addresses' | 'ttl' | 'waiting'>;
}

interface Held {
  readonly lesson: Lesson;
  readonly origin: LessonOrigin;
  readonly time: number;
  readonly deadline: number;
  release: (() => void) | undefined;
}

export interface LessonsOptions {
  readonly counters: Counters;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly maxDelayMs: () => number;
  /** Gives the address of a name an identity, if that may be without the agent. */
  readonly grant: (name: string, address: Address) => void;
  /** An answer waits: {@link Lessons.releaseLate} is to be called for as long as {@link Lessons.waiting}. */
  readonly onWaiting: () => void;
}

/** Names of one endpoint that are remembered; one more, and the longest known is learned again at its next answer. */
const NAMES_PER_ENDPOINT = 10_000;
/** After which an agent that says nothing of an answer is taken to have lost it. */
const FORGOTTEN_MS = 30_000;
/** A lease that is prolonged by no more than this is not worth a word: servers count TTLs down in whole seconds. */
const SAME_LEASE_MS = 1_000;

export class Lessons {
  readonly #options: LessonsOptions;
  readonly #leases = new Map<number, Map<string, Lease>>();
  /** In the order of their deadlines; those that went out late stay until the agent is done, or for {@link FORGOTTEN_MS}. */
  readonly #held = new Map<number, Held>();
  #outgoing: LearnedAnswer[] = [];
  #send: ((answers: readonly LearnedAnswer[]) => void) | undefined;
  #lastId = 0;

  constructor(options: LessonsOptions) {
    this.#options = options;
  }

  /** Somebody takes what is learned from now on; undefined: nobody does. */
  connect(send: ((answers: readonly LearnedAnswer[]) => void) | undefined): void {
    this.#send = send;
    this.#outgoing = [];
    if (send !== undefined) return;
    // Nobody will say that these are done.
    for (const [id, held] of this.#held) {
      this.#held.delete(id);
      this.#learnAlone(held);
      held.release?.();
    }
  }

  /**
   * An answer that its endpoint may believe. Returns whether it may go out at once; if not, `release` is called when it may.
   */
  learn(lesson: Lesson, origin: LessonOrigin, release: () => void): boolean {
    const time = this.#options.now();
    const state = this.#stateOf(lesson, origin.endpoint, time);
    if (state === 'known') return true;
    const held: Held = { lesson, origin, time, deadline: time + this.#options.maxDelayMs(), release };
    if (this.#send === undefined) {
      this.#learnAlone(held);
      return true;
    }
    const id = ++this.#lastId;
    const waiting = state === 'new';
    this.#outgoing.push(learned(id, held, waiting));
    if (!waiting) {
      this.#remember(held);
      return true;
    }
    this.#held.set(id, held);
    this.#options.onWaiting();
    return false;
  }

  /** Sends what was learned since the last time. */
  flush(): void {
    if (this.#outgoing.length === 0) return;
    this.#send?.(this.#outgoing);
    this.#outgoing = [];
  }

  acknowledged(ids: readonly number[], { identityMs, mapsMs }: LearnTimes): void {
    for (const id of ids) {
      const held = this.#held.get(id);
      if (held === undefined) continue;
      this.#held.delete(id);
      this.#remember(held);
      held.release?.();
    }
    if (identityMs !== undefined) this.#options.counters.took('policyGeneration', identityMs);
    if (mapsMs !== undefined) this.#options.counters.took('dataplane', mapsMs);
  }

  /** Lets go what has waited long enough. */
  releaseLate(): void {
    const now = this.#options.now();
    for (const [id, held] of this.#held) {
      if (held.deadline > now) return;
      if (held.deadline + FORGOTTEN_MS < now) this.#held.delete(id);
      if (held.release === undefined) continue;
      // The agent may still say that it is done: then the addresses are known.
      this.#options.counters.add('deadlinesMissed');
      held.release();
      held.release = undefined;
    }
  }

  /** Whether any answer waits. */
  get waiting(): boolean {
    return this.#held.size > 0;
  }

  /** Everything that endpoints may still use. */
  backlog(): readonly LearnedAnswer[] {
    const now = this.#options.now();
    const answers: LearnedAnswer[] = [];
    for (const names of this.#leases.values()) {
      for (const { last, addresses } of names.values()) {
        // Addresses of a name may end at different times: an answer for each.
        const byEnd = Map.groupBy(addresses.values(), ({ until }) => until);
        for (const [until, group] of byEnd) {
          const ttl = Math.max(0, Math.ceil((until - last.time) / 1000));
          const texts = group.map(({ text }) => text);
          answers.push({
            ...last,
            id: ++this.#lastId,
            addresses: texts,
            ttl,
            waiting: false,
            time: Math.min(last.time, now),
          });
        }
      }
    }
    return answers;
  }

  forget(endpoint?: number): void {
    if (endpoint === undefined) this.#leases.clear();
    else this.#leases.delete(endpoint);
  }

  /** Drops leases that have ended. While nobody was told of them they are kept. */
  prune(): void {
    if (this.#send === undefined) return;
    const now = this.#options.now();
    for (const names of this.#leases.values()) {
      for (const [name, { addresses }] of names) {
        for (const [key, { until }] of addresses) if (until <= now) addresses.delete(key);
        if (addresses.size === 0) names.delete(name);
      }
    }
  }

  /** `prolonged`: all addresses are known, but some would have been given up before this answer's time is over. */
  #stateOf({ name, addresses, ttl }: Lesson, endpoint: number, now: number): 'known' | 'prolonged' | 'new' {
    const known = this.#leases.get(endpoint)?.get(name)?.addresses;
    if (known === undefined) return 'new';
    const until = now + ttl * 1000;
    let state: 'known' | 'prolonged' = 'known';
    for (const address of addresses) {
      const lease = known.get(addressKey(address));
      if (lease === undefined || lease.until <= now) return 'new';
      if (lease.until + SAME_LEASE_MS < until) state = 'prolonged';
    }
    return state;
  }

  #remember({ lesson, origin, time }: Held): void {
    const { endpoint, server, port } = origin;
    const names = this.#leases.get(endpoint) ?? new Map<string, Lease>();
    this.#leases.set(endpoint, names);
    const { name, aliases } = lesson;
    const last = { endpoint, name, aliases, time, server: formatAddress(server), port };
    let lease = names.get(name);
    if (lease === undefined) names.set(name, (lease = { addresses: new Map(), last }));
    lease.last = last;
    for (const address of lesson.addresses) {
      const key = addressKey(address);
      const until = Math.max(time + lesson.ttl * 1000, lease.addresses.get(key)?.until ?? 0);
      lease.addresses.set(key, { text: formatAddress(address), until });
    }
    if (names.size > NAMES_PER_ENDPOINT) names.delete(names.keys().next().value!);
  }

  #learnAlone(held: Held): void {
    for (const address of held.lesson.addresses) this.#options.grant(held.lesson.name, address);
    this.#remember(held);
  }
}

function learned(id: number, { lesson, origin, time }: Held, waiting: boolean): LearnedAnswer {
  const { endpoint, server, port } = origin;
  const { name, aliases, ttl } = lesson;
  const addresses = lesson.addresses.map(formatAddress);
  return { id, endpoint, name, aliases, addresses, ttl, time, waiting, server: formatAddress(server), port };
}
