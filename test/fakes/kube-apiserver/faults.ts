/** What a test can do to the server: slow it, break it, hang it, and cut its watches. */
import type { Json } from './object.ts';
import { qualified } from './status.ts';
import type { Watch } from './watch.ts';

/** Which requests a fault meets; an absent field means any. */
export interface FaultMatch {
  readonly verb?: string | readonly string[];
  /** `pods`, `leases.coordination.k8s.io`; with a subresource `pods/status`. */
  readonly resource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly user?: string;
}

export type FaultAction =
  /** Answers late, by so many milliseconds. */
  | { readonly kind: 'latency'; readonly ms: number }
  /** Answers with a failure instead of doing anything. */
  | { readonly kind: 'status'; readonly code: number; readonly retryAfterSeconds?: number; readonly message?: string }
  /** Takes the request and never answers. */
  | { readonly kind: 'hang' }
  /** Closes the connection instead of answering. */
  | { readonly kind: 'reset' }
  /** Does what was asked, and closes the connection instead of answering. */
  | { readonly kind: 'lost-answer' }
  /** Answers reads of any revision from a cache that lags by so many revisions. */
  | { readonly kind: 'stale'; readonly revisions: number };

export interface Fault {
  readonly match?: FaultMatch;
  readonly action: FaultAction;
  /** How many requests it meets; all when absent. */
  readonly times?: number;
  /** Of the requests that match, the share that it meets: 0 to 1. */
  readonly probability?: number;
}

export interface Subject {
  readonly verb: string;
  readonly group: string;
  readonly plural: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly user: string;
}

export class Faults {
  readonly #faults: { fault: Fault; left: number }[] = [];
  readonly #watches = new Set<Watch>();
  readonly #paused: FaultMatch[] = [];

  /** Adds a fault; the result takes it away. */
  add(fault: Fault): () => void {
    const entry = { fault, left: fault.times ?? Infinity };
    this.#faults.push(entry);
    return () => {
      const index = this.#faults.indexOf(entry);
      if (index >= 0) this.#faults.splice(index, 1);
    };
  }

  /** Takes all faults away and lets paused watches go on. */
  clear(): void {
    this.#faults.length = 0;
    this.resumeWatches();
  }

  list(): Json[] {
    return this.#faults.map(({ fault, left }) => ({ ...fault, left: left === Infinity ? null : left }));
  }

  /** What is to happen to a request: every fault that meets it, oldest first. */
  meet(subject: Subject): FaultAction[] {
    return this.#faults.flatMap((entry) => {
      const { fault } = entry;
      if (entry.left <= 0 || !matches(fault.match ?? {}, subject)) return [];
      if (fault.probability !== undefined && Math.random() >= fault.probability) return [];
      entry.left--;
      return [fault.action];
    });
  }

  /** Called by the server for every watch that opens. */
  opened(watch: Watch): void {
    this.#watches.add(watch);
    if (this.#paused.some((match) => matches(match, subjectOf(watch)))) watch.pause();
  }

  closed(watch: Watch): void {
    this.#watches.delete(watch);
  }

  watches(match: FaultMatch = {}): Watch[] {
    return [...this.#watches].filter((watch) => matches(match, subjectOf(watch)));
  }

  /** Ends open watches: `clean` as at a timeout, otherwise in the middle of the stream. Returns how many. */
  dropWatches(match: FaultMatch = {}, clean = false): number {
    const dropped = this.watches(match);
    for (const watch of dropped) {
      if (clean) watch.end();
      else watch.cut();
    }
    return dropped.length;
  }

  /** Holds back the events of watches, open and to come, until {@link resumeWatches}. */
  pauseWatches(match: FaultMatch = {}): void {
    this.#paused.push(match);
    for (const watch of this.watches(match)) watch.pause();
  }

  resumeWatches(): void {
    this.#paused.length = 0;
    for (const watch of this.#watches) watch.resume();
  }

  /** Sends every open watch a bookmark now. */
  sendBookmarks(match: FaultMatch = {}): void {
    for (const watch of this.watches(match)) watch.bookmark();
  }
}

function subjectOf(watch: Watch): Subject {
  const { group, plural } = watch.type;
  return { verb: 'watch', group, plural, subresource: '', namespace: watch.namespace, name: '', user: watch.user };
}

function matches(match: FaultMatch, subject: Subject): boolean {
  const resource = qualified({ group: subject.group, plural: subject.plural, kind: '' });
  const full = subject.subresource === '' ? resource : `${resource}/${subject.subresource}`;
  const verbs = match.verb === undefined ? undefined : [match.verb].flat();
  return (
    (verbs === undefined || verbs.includes(subject.verb)) &&
    (match.resource === undefined || match.resource === full) &&
    (match.namespace === undefined || match.namespace === subject.namespace) &&
    (match.name === undefined || match.name === subject.name) &&
    (match.user === undefined || match.user === subject.user)
  );
}
