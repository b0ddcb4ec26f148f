import { WeirError } from '../../model/errors.ts';
import type { EndpointId } from '../../model/endpoint.ts';
import type { MapStateChanges, MapStateView } from '../../model/mapstate.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { planPolicyUpdate, type PolicyEdit, type PolicyStep } from './policy-plan.ts';
import {
  encodePolicy,
  encodePolicyEntry,
  encodePolicyKey,
  isEntryOf,
  policyValues,
  type EncodedPolicy,
} from './policymap.ts';
import type { RevisionMap } from './revision.ts';

/** What an endpoint's policy map holds, as far as updates need it. */
interface Content {
  size: number;
  /** How many entries are not plain allows. */
  special: number;
}

/**
 * The policy map of one endpoint. Brings it to what is wanted in an order that never lets through more than the policy
 * before or after, then raises the endpoint's revision, so that established connections are judged by it too.
 *
 * A policy that does not fit puts the endpoint into lockdown: everything is dropped until one fits. No two calls for one
 * endpoint may run at once; the caller sees to that.
 */
export class EndpointPolicy {
  readonly #id: EndpointId;
  readonly #map: MapHandle;
  readonly #revisions: RevisionMap;
  #content: Content | undefined;
  /** Why the map may not hold what the last caller wanted; increments on top of it would mean nothing. */
  #unknown: unknown;

  constructor(id: EndpointId, map: MapHandle, revisions: RevisionMap) {
    this.#id = id;
    this.#map = map;
    this.#revisions = revisions;
  }

  get lockedDown(): boolean {
    return this.#revisions.isLockedDown(this.#id);
  }

  /**
   * Brings the map to exactly `policy`. Only this ends a lockdown.
   *
   * @throws WeirError BPF_MAP_FULL: the endpoint is in lockdown; BPF_MAP_FAILED
   */
  async replace(policy: MapStateView): Promise<void> {
    const wanted = encodePolicy(policy.entries());
    const content: Content = { size: 0, special: 0 };
    const edits = await this.#difference(wanted, content);
    await this.#change(edits, content);
  }

  /**
   * Applies an increment.
   *
   * @throws WeirError BPF_MAP_FULL: the endpoint is in lockdown; BPF_MAP_FAILED. After either only `replace` helps.
   */
  async update(changes: MapStateChanges): Promise<void> {
    if (this.#unknown !== undefined) throw this.#unknownError();
    this.#content ??= await this.#scan();
    await this.#change(this.#edits(changes), this.#content);
  }

  /** The edits from what the kernel holds to `wanted`; counts what it holds into `content`. */
  async #difference(wanted: EncodedPolicy, content: Content): Promise<readonly PolicyEdit[]> {
    const { keySize, valueSize } = this.#map;
    const missing = new Map<string, PolicyEdit & { readonly after: Buffer }>();
    for (let i = 0; i < wanted.count; i++) {
      const key = wanted.keys.subarray(i * keySize, (i + 1) * keySize);
      missing.set(key.toString('latin1'), { key, after: wanted.values.subarray(i * valueSize, (i + 1) * valueSize) });
    }
    const edits: PolicyEdit[] = [];
    for await (const { key, value } of this.#map.entries()) {
      count(content, value, 1);
      const text = key.toString('latin1');
      const edit = missing.get(text);
      missing.delete(text);
      if (edit === undefined) edits.push({ key: Buffer.from(key), before: Buffer.from(value) });
      else if (!edit.after.equals(value)) edits.push({ ...edit, before: Buffer.from(value) });
    }
    edits.push(...missing.values());
    return edits;
  }

  #edits({ upserts, deletes }: MapStateChanges): readonly PolicyEdit[] {
    const edits = new Map<string, { key: Uint8Array; after?: Uint8Array }>();
    const text = (key: Uint8Array) => Buffer.from(key).toString('latin1');
    for (const key of deletes.map(encodePolicyKey)) edits.set(text(key), { key });
    for (const [key, entry] of upserts) {
      const bytes = encodePolicyKey(key);
      edits.set(text(bytes), { key: bytes, after: encodePolicyEntry(key, entry) });
    }
    return [...edits.values()].map((edit) => {
      const before = this.#map.lookup(edit.key);
      // A lookup in a trie answers with the longest prefix, which may be another entry.
      return before === undefined || !isEntryOf(edit.key, before) ? edit : { ...edit, before };
    });
  }

  async #change(edits: readonly PolicyEdit[], before: Content): Promise<void> {
    const after = { ...before };
    const rest = { ...before };
    for (const edit of edits) {
      if (edit.before !== undefined) {
        count(after, edit.before, -1);
        count(rest, edit.before, -1);
      }
      if (edit.after !== undefined) count(after, edit.after, 1);
    }
    if (after.size > this.#map.maxEntries) throw this.#lockDown(after.size);
    const added = edits.filter((edit) => edit.before === undefined && edit.after !== undefined).length;
    try {
      if (before.size + added > this.#map.maxEntries) await this.#applyBehindLockdown(edits);
      else for (const step of planPolicyUpdate(edits, rest.special === 0, policyValues)) await this.#apply(step);
    } catch (error) {
      throw this.#failed(error, after.size);
    }
    this.#content = after;
    this.#unknown = undefined;
    if (this.lockedDown) this.#revisions.setLockdown(this.#id, false);
    else if (edits.length > 0) this.#revisions.raise(this.#id);
  }

  /** The new policy fits, but not beside the one that it replaces: drop everything until it stands. */
  async #applyBehindLockdown(edits: readonly PolicyEdit[]): Promise<void> {
    this.#revisions.setLockdown(this.#id, true);
    await this.#apply({ write: [], remove: edits.filter(({ after }) => after === undefined).map(({ key }) => key) });
    const write = edits.flatMap(({ key, after }) => (after === undefined ? [] : [{ key, value: after }]));
    await this.#apply({ write, remove: [] });
  }

  async #apply({ write, remove }: PolicyStep): Promise<void> {
    if (write.length > 0) {
      const keys = Buffer.concat(write.map(({ key }) => key));
      await this.#map.updateBatch(keys, Buffer.concat(write.map(({ value }) => value)));
    }
    if (remove.length > 0) await this.#map.deleteBatch(Buffer.concat(remove));
  }

  async #scan(): Promise<Content> {
    const content: Content = { size: 0, special: 0 };
    for await (const { value } of this.#map.entries()) count(content, value, 1);
    return content;
  }

  #failed(error: unknown, size: number): unknown {
    this.#unknown = error;
    return error instanceof WeirError && error.code === 'BPF_MAP_FULL' ? this.#lockDown(size, error) : error;
  }

  #lockDown(size: number, cause?: unknown): WeirError {
    if (!this.lockedDown) this.#revisions.setLockdown(this.#id, true);
    const error = new WeirError(
      'BPF_MAP_FULL',
      `policy of ${size} entries does not fit ${this.#map.name}, which holds ${this.#map.maxEntries}: all traffic of the endpoint is dropped`,
      { object: `endpoint ${this.#id}`, cause },
    );
    this.#unknown = error;
    return error;
  }

  #unknownError(): WeirError {
    const { code } = this.#unknown instanceof WeirError ? this.#unknown : { code: 'BPF_MAP_FAILED' as const };
    const text = `${this.#map.name} does not hold the policy that the increment is for, since an earlier update failed`;
    return new WeirError(code, text, {
      object: `endpoint ${this.#id}`,
      remedy: 'regenerate the endpoint: its whole policy must be written',
      cause: this.#unknown,
    });
  }
}

function count(content: Content, value: Uint8Array, by: 1 | -1): void {
  content.size += by;
  if (!policyValues.isPlainAllow(value)) content.special += by;
}
