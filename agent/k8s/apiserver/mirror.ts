/** What an API server said of one kind, and what follows from what it says next. Pure. */
import { hash } from 'node:crypto';
import type { Resource, ResourceEvent, ResourceKind } from '../../model/resource.ts';
import { decodeMetadata, isRecord } from '../object-meta.ts';
import { Interner, slim } from './slim.ts';

/** What the mirror remembers of one object: enough to tell whether something new is new. */
interface Known {
  readonly version: string;
  /** Of the object as the agent sees it. */
  readonly digest: string;
}

/** An object that no consumer could use: an API server does not serve such things. */
export interface MirrorIssue {
  readonly object: string;
  readonly field: string;
  readonly message: string;
}

export interface MirrorOptions {
  readonly kind: ResourceKind;
  readonly onEvent: (event: ResourceEvent) => void;
  readonly onIssue?: (issue: MirrorIssue) => void;
  readonly interner?: Interner;
}

/**
 * Merges lists and watch events of one kind into changes, each told once. What arrives twice, late or out of order does
 * no harm: an object never goes back to an older version, and a deletion is not undone by an event from before it. A list
 * is the truth at its version: what it lacks is gone, and events up to its version are in it.
 *
 * It holds no objects: 50,000 endpoints cost a version and a digest each.
 */
export class Mirror {
  readonly #options: MirrorOptions;
  readonly #interner: Interner;
  readonly #known = new Map<string, Known>();
  /** Versions at which objects ceased to be, for events that come late; a list or a bookmark settles them. */
  readonly #graves = new Map<string, string>();
  /** Everything up to this version has been seen, whatever else arrives. */
  #floor = '';
  #version = '';

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#interner = options.interner ?? new Interner();
  }

  /** The version to watch from; empty before the first list. */
  get version(): string {
    return this.#version;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Begins to take in a whole list, in one page or many. One that is not finished changes nothing about deletions. */
  list(apiVersion: string): MirrorList {
    const seen = new Set<string>();
    return {
      add: (object) => {
        const resource = this.#resource(object, apiVersion);
        if (resource === undefined) return;
        const key = keyOf(resource);
        seen.add(key);
        this.#graves.delete(key);
        this.#put(key, resource, versionOf(object));
      },
      remove: (object) => {
        const resource = this.#resource(object, apiVersion);
        if (resource === undefined) return;
        seen.delete(keyOf(resource));
        this.#remove(keyOf(resource), resource);
      },
      finish: (version) => {
        for (const [key] of this.#known) if (!seen.has(key)) this.#remove(key, this.#gone(key, apiVersion));
        this.#graves.clear();
        this.#floor = version;
        this.#version = version;
      },
    };
  }

  /** Takes in an event of a watch, but those that are about the watch itself. */
  event(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: unknown, apiVersion: string): void {
    const resource = this.#resource(object, apiVersion);
    if (resource === undefined) return;
    const key = keyOf(resource);
    const version = versionOf(object);
    const last = this.#known.get(key)?.version ?? this.#graves.get(key) ?? this.#floor;
    // A deletion may carry the version that was deleted.
    const sameAsKnown = type === 'DELETED' && this.#known.get(key)?.version === version;
    if (!isNewer(version, last) && !sameAsKnown) return;
    this.#advance(version);
    if (type !== 'DELETED') {
      this.#graves.delete(key);
      this.#put(key, resource, version);
      return;
    }
    this.#graves.set(key, version);
    this.#remove(key, resource);
  }

  /** All events up to `version` have been delivered. */
  bookmark(version: string): void {
    this.#advance(version);
    this.#floor = version;
    for (const [key, at] of this.#graves) if (!isNewer(at, version)) this.#graves.delete(key);
  }

  #advance(version: string): void {
    if (isNewer(version, this.#version)) this.#version = version;
  }

  #put(key: string, resource: Resource, version: string): void {
    const digest = hash('sha1', `${resource.apiVersion} ${JSON.stringify(resource.object)}`, 'binary');
    const before = this.#known.get(key);
    this.#known.set(key, { version, digest });
    if (before?.digest !== digest) this.#options.onEvent({ type: 'upsert', resource });
  }

  #remove(key: string, resource: Resource): void {
    if (this.#known.delete(key)) this.#options.onEvent({ type: 'delete', resource });
  }

  /** An object of which no more is known than that it is gone. */
  #gone(key: string, apiVersion: string): Resource {
    const { kind } = this.#options;
    const slash = key.indexOf('/');
    const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
    return { apiVersion, kind, namespace, name, uid: '', object: {} };
  }

  #resource(object: unknown, apiVersion: string): Resource | undefined {
    const { kind, onIssue } = this.#options;
    const json = isRecord(object) ? object : {};
    const metadata = decodeMetadata(kind, json['metadata']);
    if (!metadata.ok) {
      onIssue?.({ object: metadata.object, field: metadata.field, message: metadata.message });
      return undefined;
    }
    // Items of a list do not say what they are.
    return { apiVersion, kind, ...metadata.value, object: slim(kind, { ...json, apiVersion }, this.#interner) };
  }
}

/** A list on its way in. */
export interface MirrorList {
  readonly add: (object: unknown) => void;
  /** It went while the list was on its way, after it was added. */
  readonly remove: (object: unknown) => void;
  /** What was not added is gone. */
  readonly finish: (version: string) => void;
}

const keyOf = ({ namespace, name }: Resource): string => `${namespace}/${name}`;

function versionOf(object: unknown): string {
  const metadata = isRecord(object) ? object['metadata'] : undefined;
  const version = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  return typeof version === 'string' ? version : '';
}

/**
 * Whether `a` comes after `b`. Versions are comparable decimals (KEP-5504). Of others nothing is known but equality, and
 * then the order in which they arrive counts.
 */
export function isNewer(a: string, b: string): boolean {
  if (a === b) return false;
  if (b === '' || !isDecimal(a) || !isDecimal(b)) return true;
  return a.length === b.length ? a > b : a.length > b.length;
}

const isDecimal = (text: string): boolean => /^[1-9]\d*$/.test(text);
