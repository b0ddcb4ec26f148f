/** WATCH: changes after a revision, in order, with bookmarks, until the time is up or someone hangs up. */
import type { ServerResponse } from 'node:http';
import type { Json, KubeObject } from './object.ts';
import { apiVersionOf, collectionOf, type ResourceType } from './resource-type.ts';
import { inVersion } from './rest.ts';
import { querySelector, readRevision } from './list.ts';
import { isTrue } from './request.ts';
import type { Selector } from './selector.ts';
import { expired, invalid } from './status.ts';
import type { Change, Store } from './store.ts';
import { asTable, partial, type Form } from './table.ts';

export interface WatchSettings {
  readonly bookmarkMs: number;
  /** Used when the client gives no timeout. */
  readonly timeoutMs: number;
}

/**
 * Between what exists and the bookmark that says that this was all, in milliseconds: as at a real server, changes come in between,
 * deletions too.
 */
const INITIAL_EVENTS_END_MS = 10;

/** An open watch, as faults see it. */
export class Watch {
  readonly type: ResourceType;
  readonly namespace: string;
  readonly user: string;
  readonly #response: ServerResponse;
  readonly #store: Store;
  readonly #selector: Selector | undefined;
  readonly #form: Form;
  readonly #include: string | null;
  readonly #bookmarks: boolean;
  #headerSent = false;
  #sent = 0;
  #held: Change[] | undefined;
  #stop: () => void = () => undefined;

  constructor(
    store: Store,
    type: ResourceType,
    namespace: string,
    user: string,
    query: URLSearchParams,
    form: Form,
    response: ServerResponse,
  ) {
    this.#store = store;
    this.type = type;
    this.namespace = namespace;
    this.user = user;
    this.#response = response;
    this.#selector = querySelector(type, query);
    this.#form = form;
    this.#include = query.get('includeObject');
    this.#bookmarks = isTrue(query.get('allowWatchBookmarks')) && query.has('allowWatchBookmarks');
  }

  /** Sends what is asked for to begin with, then every change. Ends with the response. */
  start(query: URLSearchParams, settings: WatchSettings): void {
    const from = readRevision(query.get('resourceVersion'));
    const initial = readInitialEvents(query);
    this.#response.writeHead(200, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' });
    this.#response.flushHeaders();
    const collection = this.#store.collection(collectionOf(this.type));
    if (initial || ((from === undefined || from === 0) && !query.has('sendInitialEvents'))) {
      this.#sent = this.#store.revision;
      this.#sendAll();
    } else {
      this.#sent = from === undefined || from === 0 ? this.#store.revision : from;
      if (this.#sent < this.#store.compacted) {
        this.fail(expired(`too old resource version: ${this.#sent} (${this.#store.compacted})`).status());
        return;
      }
      for (const change of collection.changesAfter(this.#sent)) this.#onChange(change);
    }
    const listener = (change: Change): void => this.#onChange(change);
    collection.listeners.add(listener);
    const bookmarks = setInterval(() => this.bookmark(), settings.bookmarkMs);
    const seconds = Number(query.get('timeoutSeconds') ?? 0);
    const timeout = setTimeout(() => this.end(), seconds > 0 ? seconds * 1000 : settings.timeoutMs);
    const told = initial && this.#bookmarks ? setInterval(() => this.#toldAll(told), INITIAL_EVENTS_END_MS) : undefined;
    this.#stop = () => {
      collection.listeners.delete(listener);
      clearInterval(bookmarks);
      clearInterval(told);
      clearTimeout(timeout);
    };
    this.#response.on('close', () => this.#stop());
  }

  /** Ends the stream as a server does whose time is up. */
  end(): void {
    this.#stop();
    this.#response.end();
  }

  /** Cuts the connection in the middle. */
  cut(): void {
    this.#stop();
    this.#response.destroy();
  }

  /** Sends an ERROR event and ends. */
  fail(status: Json): void {
    this.#send({ type: 'ERROR', object: status });
    this.end();
  }

  /** Keeps back all changes until {@link resume}: a connection that hangs. */
  pause(): void {
    this.#held ??= [];
  }

  resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const change of held) this.#onChange(change);
  }

  /** Tells the client how far it is, if it asked for bookmarks. */
  bookmark(): void {
    if (!this.#bookmarks || this.#held !== undefined) return;
    this.#sent = Math.max(this.#sent, this.#store.revision);
    this.#bookmark();
  }

  /** Says that what existed has been told, unless the watch hangs. */
  #toldAll(timer: NodeJS.Timeout | undefined): void {
    if (this.#held !== undefined) return;
    clearInterval(timer);
    this.#bookmark({ 'k8s.io/initial-events-end': 'true' });
  }

  #bookmark(annotations?: Record<string, string>): void {
    const metadata = {
      resourceVersion: String(this.#sent),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    };
    const { kind } = this.type;
    const object = { kind, apiVersion: apiVersionOf(this.type), metadata } as unknown as KubeObject;
    if (this.#form.as === 'object') this.#send({ type: 'BOOKMARK', object });
    else
      this.#send({
        type: 'BOOKMARK',
        object:
          this.#form.as === 'Table'
            ? asTable(this.type, [], metadata, this.#form, this.#include, false)
            : partial(object, this.#form.version),
      });
  }

  #sendAll(): void {
    const collection = this.#store.collection(collectionOf(this.type));
    for (const key of collection.keysFrom('')) {
      const object = collection.get(key);
      if (object !== undefined && this.#concerns(object)) this.#object('ADDED', object);
    }
  }

  #onChange(change: Change): void {
    if (this.#held !== undefined) {
      this.#held.push(change);
      return;
    }
    if (change.revision <= this.#sent) return;
    this.#sent = change.revision;
    const now = change.type !== 'DELETED' && this.#concerns(change.object);
    const before = change.previous !== undefined && this.#concerns(change.previous);
    if (now) this.#object(before ? 'MODIFIED' : 'ADDED', change.object);
    else if (before)
      this.#object('DELETED', change.type === 'DELETED' ? change.object : asOf(change.previous, change.revision));
  }

  #concerns(object: KubeObject): boolean {
    if (this.namespace !== '' && object.metadata.namespace !== this.namespace) return false;
    return this.#selector === undefined || this.#selector(inVersion(this.type, object));
  }

  #object(type: string, stored: KubeObject): void {
    const object = inVersion(this.type, stored);
    switch (this.#form.as) {
      case 'object':
        this.#response.write(`{"type":"${type}","object":${jsonOf(object)}}\n`);
        return;
      case 'Table':
        this.#send({
          type,
          object: asTable(
            this.type,
            [object],
            { resourceVersion: object.metadata.resourceVersion },
            this.#form,
            this.#include,
            !this.#headerSent,
          ),
        });
        this.#headerSent = true;
        return;
      case 'PartialObjectMetadata':
        this.#send({ type, object: partial(object, this.#form.version) });
    }
  }

  #send(event: Json): void {
    this.#response.write(`${JSON.stringify(event)}\n`);
  }
}

/** An object that no longer matches is told as deleted, as it last matched, with the revision of the change. */
function asOf(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

/** Many watchers are sent the same object: its text is made once. */
const texts = new WeakMap<KubeObject, string>();

export function jsonOf(object: KubeObject): string {
  let text = texts.get(object);
  if (text === undefined) texts.set(object, (text = JSON.stringify(object)));
  return text;
}

function readInitialEvents(query: URLSearchParams): boolean {
  const asked = query.get('sendInitialEvents');
  if (asked === null) return false;
  if (query.get('resourceVersionMatch') !== 'NotOlderThan') {
    throw invalid({ group: 'meta.k8s.io', plural: '', kind: 'ListOptions' }, '', [
      {
        reason: 'FieldValueForbidden',
        field: 'resourceVersionMatch',
        message: 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      },
    ]);
  }
  return isTrue(asked);
}
