/** Follows one kind at an API server: list, watch, and again from where it was, for as long as it is wanted. */
import type { Clock } from '../../model/clock.ts';
import { WeirError } from '../../model/errors.ts';
import type { ResourceEvent, ResourceKind } from '../../model/resource.ts';
import { apiVersions, collectionPath, KINDS } from '../kinds.ts';
import { CILIUM_GROUP } from '../crds/definition.ts';
import { isRecord } from '../object-meta.ts';
import { ApiRefusal, isRefusal, type ApiServer, type JsonObject, type Query, type WatchMessage } from './client.ts';
import { Mirror, type MirrorIssue, type MirrorList } from './mirror.ts';
import { recordOf, recordsOf } from './objects.ts';
import { delay, retryDelay } from './retry.ts';
import type { Interner } from './slim.ts';

/** How the following of a kind stands. */
export type ReflectorState =
  | { readonly phase: 'listing' | 'watching' }
  /** The server has no such kind: its definition is missing. */
  | { readonly phase: 'absent' }
  | { readonly phase: 'failing'; readonly error: unknown };

export interface ReflectorOptions {
  readonly kind: ResourceKind;
  readonly server: ApiServer;
  readonly clock: Clock;
  /** A number in [0, 1), as Math.random gives. */
  readonly random: () => number;
  readonly onEvent: (event: ResourceEvent) => void;
  readonly onState: (state: ReflectorState) => void;
  readonly onIssue?: (issue: MirrorIssue) => void;
  readonly fieldSelector?: string;
  readonly interner?: Interner;
}

/** Objects a page of a list. */
const PAGE = 500;

/** A watch is asked for between this long and twice it, so that the watches of a cluster do not end together; seconds. */
const WATCH_SECONDS = 300;

/** How much longer than that a silent watch is believed to live, in milliseconds. */
const WATCH_GRACE_MS = 30_000;

/**
 * Servers say once a minute how far they are to those who ask for bookmarks. Of a watch that has told so before, longer silence than
 * this means a connection that is dead without anybody having closed it, in milliseconds.
 */
const BOOKMARK_SILENCE_MS = 180_000;

/** Longest silence of a watch that has yet to tell what exists: who does not know that way says nothing at its end, in milliseconds. */
const LIST_SILENCE_MS = 30_000;

/**
 * Longest wait between looks for a kind that most clusters never define, in milliseconds: all nodes ask. Those of cilium.io are
 * defined as soon as an operator runs.
 */
const ABSENT_MS = 120_000;

/** How often silence is looked at, in milliseconds. */
const LOOK_MS = 10_000;

/** A watch that ends sooner than this without a word failed, in milliseconds. */
const SHORTEST_WATCH_MS = 1_000;

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

/** What has happened since the version that was asked for is no longer known: only a list helps. */
const GONE = 410;

const NOT_FOUND = 404;

export class Reflector {
  readonly kind: ResourceKind;
  readonly #options: ReflectorOptions;
  readonly #mirror: Mirror;
  /** Undefined until a list says which of the versions is served. */
  #apiVersion: string | undefined;
  #listed = false;
  /** Whether the server begins a watch with a list when asked to; undefined until it was asked. */
  #watchList: boolean | undefined;
  #attempts = 0;
  #synced!: () => void;
  /** Resolves when all that existed is known, or when the server has no such kind. */
  readonly synced = new Promise<void>((resolve) => (this.#synced = resolve));
  /** Ends the present watch, so that another connection is tried. */
  #interrupt = new AbortController();

  constructor(options: ReflectorOptions) {
    this.kind = options.kind;
    this.#options = options;
    this.#mirror = new Mirror(options);
  }

  /** How many objects there are. */
  get size(): number {
    return this.#mirror.size;
  }

  /** Follows until the signal. Never rejects: what goes wrong is told to `onState`, and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { onState } = this.#options;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      try {
        if (!this.#listed) await this.#begin(signal);
        else await this.#watch(this.#apiVersion!, {}, signal);
      } catch (error) {
        if (stopped()) return;
        if (needsList(error)) this.#listed = false;
        this.#attempts++;
        // To have missed too much is no fault, once.
        if (!isRefusal(error, GONE) || this.#attempts > 1) {
          onState({ phase: 'failing', error });
          await this.#pause(error, signal);
        }
      }
    }
  }

  /** Gives up a connection that may be dead. */
  interrupt(): void {
    this.#interrupt.abort();
  }

  /** Learns all that exists. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { onState } = this.#options;
    onState({ phase: 'listing' });
    for (const apiVersion of apiVersions(this.kind)) {
      try {
        if (this.#watchList !== false && (await this.#beginByWatch(apiVersion, signal))) return;
        await this.#list(apiVersion);
        return;
      } catch (error) {
        if (!isRefusal(error, NOT_FOUND)) throw error;
      }
    }
    await this.#confirmAbsent();
    this.#synced();
    onState({ phase: 'absent' });
    this.#attempts++;
    const { clock, random } = this.#options;
    const longest = KINDS[this.kind].group === CILIUM_GROUP ? undefined : ABSENT_MS;
    await delay(clock, retryDelay(undefined, this.#attempts, random(), longest), signal);
  }

  /**
   * An API server that is starting answers 404 for kinds that it will serve in a moment. To take that for "there are no
   * policies" would open every pod, so the definition itself is asked for.
   *
   * @throws ApiRefusal when the kind is defined, or nobody may say.
   */
  async #confirmAbsent(): Promise<void> {
    const { group, plural, versions } = KINDS[this.kind];
    const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.${group}`;
    let message = `${this.kind} is not served yet`;
    if (!BUILT_IN.has(group)) {
      try {
        const definition = await this.#options.server.request({ method: 'GET', path });
        const foreign = foreignVersions(definition, versions);
        if (foreign !== undefined)
          message = `${this.kind} is served as ${foreign} only, and Weir reads ${versions.join(', ')}: have one of these served`;
      } catch (error) {
        if (isRefusal(error, NOT_FOUND)) return;
        throw error;
      }
    }
    throw new ApiRefusal(`GET ${plural}`, NOT_FOUND, { message });
  }

  async #list(apiVersion: string): Promise<void> {
    const { server, fieldSelector } = this.#options;
    const path = collectionPath(this.kind, apiVersion);
    const list = this.#mirror.list(apiVersion);
    let next: string | undefined;
    do {
      const page = await server.request({
        method: 'GET',
        path,
        query: { limit: PAGE, continue: next, fieldSelector },
      });
      const metadata = isRecord(page['metadata']) ? page['metadata'] : {};
      for (const item of Array.isArray(page['items']) ? (page['items'] as unknown[]) : []) list.add(item);
      next = textOf(metadata['continue']);
      if (next === undefined) list.finish(textOf(metadata['resourceVersion']) ?? '');
    } while (next !== undefined);
    this.#known(apiVersion);
  }

  /**
   * Lets the watch begin with what exists: the server then streams it instead of making pages.
   *
   * @returns false when the server does not do that
   */
  async #beginByWatch(apiVersion: string, signal: AbortSignal): Promise<boolean> {
    try {
      const query = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' };
      await this.#watch(apiVersion, query, signal, this.#mirror.list(apiVersion));
      this.#watchList = true;
      return true;
    } catch (error) {
      const refused = error instanceof ApiRefusal && (error.httpStatus === 400 || error.httpStatus === 422);
      if (!refused) throw error;
      this.#watchList = false;
      return false;
    }
  }

  #known(apiVersion: string): void {
    this.#apiVersion = apiVersion;
    this.#listed = true;
    this.#attempts = 0;
    this.#synced();
  }

  /** @param list set when the watch begins with what exists */
  async #watch(apiVersion: string, query: Query, signal: AbortSignal, list?: MirrorList): Promise<void> {
    const { server, fieldSelector, clock, random, onState } = this.#options;
    this.#interrupt = new AbortController();
    const seconds = Math.round(WATCH_SECONDS * (1 + random()));
    const started = clock.now();
    let heard = started;
    let messages = 0;
    let bookmarks = false;
    const telling = (): boolean => list !== undefined && !this.#listed;
    const stop = AbortSignal.any([signal, this.#interrupt.signal]);
    const cancel = every(clock, LOOK_MS, () => {
      const silence = clock.now() - heard;
      if (telling() && silence > LIST_SILENCE_MS) this.#watchList = false;
      else if (silence <= (bookmarks ? BOOKMARK_SILENCE_MS : seconds * 1000 + WATCH_GRACE_MS)) return;
      this.interrupt();
    });
    try {
      const version = list === undefined ? { resourceVersion: this.#mirror.version } : {};
      const stream = server.watch(
        collectionPath(this.kind, apiVersion),
        { allowWatchBookmarks: true, timeoutSeconds: seconds, fieldSelector, ...version, ...query },
        stop,
      );
      if (list === undefined) onState({ phase: 'watching' });
      for await (const batch of stream) {
        if (stop.aborted) break;
        heard = clock.now();
        messages += batch.length;
        for (const message of batch) this.#message(message, apiVersion, list);
        bookmarks ||= batch.some(({ type, object }) => type === 'BOOKMARK' && !endsList(object));
        if (this.#listed) this.#attempts = 0;
      }
    } finally {
      cancel();
    }
    // Whether the server is away as well, the next watch tells.
    const interrupted = this.#interrupt.signal.aborted;
    if (interrupted && bookmarks && clock.now() - heard > BOOKMARK_SILENCE_MS) return;
    if (interrupted) throw new WeirError('KUBERNETES_UNREACHABLE', 'the connection is silent', { object: this.kind });
    if (signal.aborted) return;
    if (telling()) {
      // Pages are understood by every server, and by whatever stands before it.
      this.#watchList = false;
      throw new WeirError('KUBERNETES_UNREACHABLE', 'the watch ended before it had told all', { object: this.kind });
    }
    if (messages === 0 && clock.now() - started < SHORTEST_WATCH_MS) {
      throw new WeirError('KUBERNETES_UNREACHABLE', 'the watch ended at once', { object: this.kind });
    }
  }

  #message({ type, object }: WatchMessage, apiVersion: string, list: MirrorList | undefined): void {
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
        if (list === undefined || this.#listed) this.#mirror.event(type, object, apiVersion);
        else if (type === 'DELETED') list.remove(object);
        else list.add(object);
        return;
      case 'BOOKMARK':
        this.#bookmark(object, apiVersion, list);
        return;
      case 'ERROR': {
        const code = typeof object['code'] === 'number' ? object['code'] : 500;
        throw new ApiRefusal(`watch of ${this.kind}`, code, object);
      }
      default:
      // A newer server may say things that older clients need not know.
    }
  }

  #bookmark(object: JsonObject, apiVersion: string, list: MirrorList | undefined): void {
    const metadata = isRecord(object['metadata']) ? object['metadata'] : {};
    const version = textOf(metadata['resourceVersion']);
    if (version === undefined) return;
    if (list === undefined || this.#listed) this.#mirror.bookmark(version);
    else if (endsList(object)) {
      list.finish(version);
      this.#known(apiVersion);
      this.#options.onState({ phase: 'watching' });
    }
  }

  #pause(error: unknown, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    return delay(clock, retryDelay(error, this.#attempts, random()), signal);
  }
}

/**
 * Whether to go on from where the watch was is in vain: what happened since is forgotten, the version of the kind is no longer
 * served, or the server's storage was set back to before it.
 */
function needsList(error: unknown): boolean {
  if (isRefusal(error, GONE) || isRefusal(error, NOT_FOUND)) return true;
  return error instanceof ApiRefusal && /too large resource version/i.test(error.message);
}

/** What Kubernetes itself brings is never missing. */
const BUILT_IN: ReadonlySet<string> = new Set(['', 'discovery.k8s.io', 'networking.k8s.io']);

/** Whether a bookmark says that all that existed has been told. Servers on which nothing happens may send no others. */
const endsList = (bookmark: JsonObject): boolean =>
  recordOf(recordOf(bookmark['metadata'])['annotations'])[INITIAL_EVENTS_END] === 'true';

/** Versions of a definition that are served, when all of them are of those that nobody here can read. */
function foreignVersions(definition: JsonObject, known: readonly string[]): string | undefined {
  const served = recordsOf(recordOf(definition['spec'])['versions']).flatMap(({ name, served: is }) =>
    is === true && typeof name === 'string' ? [name] : [],
  );
  return served.length === 0 || served.some((name) => known.includes(name)) ? undefined : served.join(', ');
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

/** Calls `fn` every `ms` milliseconds; the returned function ends it. */
function every(clock: Clock, ms: number, fn: () => void): () => void {
  let cancel: () => void;
  const again = (): void => {
    cancel = clock.after(ms, () => {
      again();
      fn();
    });
  };
  again();
  return () => cancel();
}
