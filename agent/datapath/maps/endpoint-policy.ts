import { WeirError } from '../../model/errors.ts';
import type { EndpointId } from '../../model/endpoint.ts';
import type { MapStateChanges, MapStateView } from '../../model/mapstate.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { encodeChanges, stepBytes, totalsOf, type EditGroup } from './policy-changes.ts';
import {
  countEntry,
  emptyCount,
  sortEdits,
  stepsOf,
  type PolicyCount,
  type PolicyEdit,
  type PolicyStep,
} from './policy-plan.ts';
import { encodePolicy, policyValues, type EncodedPolicy } from './policymap.ts';
import type { RevisionMap } from './revision.ts';

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
  /** What the map holds, as far as updates need it. */
  #content: PolicyCount | undefined;
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
    const content = emptyCount();
    const edits = await this.#difference(wanted, content);
    await this.#change([{ edits: sortEdits(edits, policyValues) }], content);
  }

  /**
   * Applies an increment to what the last call left. What was there before is what the increment says: asking the kernel for
   * each key would cost more than writing it.
   *
   * @throws WeirError BPF_MAP_FULL: the endpoint is in lockdown; BPF_MAP_FAILED. After either only `replace` helps.
   */
  async update(changes: MapStateChanges): Promise<void> {
    if (this.#unknown !== undefined) throw this.#unknownError();
    this.#content ??= await this.#scan();
    await this.#change(encodeChanges(changes), this.#content);
  }

  /** The edits from what the kernel holds to `wanted`; counts what it holds into `content`. */
  async #difference(wanted: EncodedPolicy, content: PolicyCount): Promise<readonly PolicyEdit[]> {
    const { keySize, valueSize } = this.#map;
    const missing = new Map<string, PolicyEdit & { readonly after: Buffer }>();
    for (let i = 0; i < wanted.count; i++) {
      const key = wanted.keys.subarray(i * keySize, (i + 1) * keySize);
      missing.set(key.toString('latin1'), { key, after: wanted.values.subarray(i * valueSize, (i + 1) * valueSize) });
    }
    const edits: PolicyEdit[] = [];
    for await (const { key, value } of this.#map.entries()) {
      countEntry(content, value, policyValues);
      const text = key.toString('latin1');
      const edit = missing.get(text);
      missing.delete(text);
      if (edit === undefined) edits.push({ key: Buffer.from(key), before: Buffer.from(value) });
      else if (!edit.after.equals(value)) edits.push({ ...edit, before: Buffer.from(value) });
    }
    edits.push(...missing.values());
    return edits;
  }

  async #change(groups: readonly EditGroup[], content: PolicyCount): Promise<void> {
    const { before, after, added } = totalsOf(groups);
    const rest = { size: content.size - before.size, special: content.special - before.special };
    const next = { size: rest.size + after.size, special: rest.special + after.special };
    if (next.size > this.#map.maxEntries) throw this.#lockDown(next.size);
    this.#content = next;
    try {
      if (content.size + added > this.#map.maxEntries) await this.#applyBehindLockdown(groups);
      else for (const step of stepsOf(content.special + after.special === 0)) await this.#apply(groups, step);
    } catch (error) {
      throw this.#failed(error, next.size);
    }
    this.#unknown = undefined;
    if (this.lockedDown) this.#revisions.setLockdown(this.#id, false);
    else if (before.size + after.size > 0) this.#revisions.raise(this.#id);
  }

  /** The new policy fits, but not beside the one that it replaces: drop everything until it stands. */
  async #applyBehindLockdown(groups: readonly EditGroup[]): Promise<void> {
    this.#revisions.setLockdown(this.#id, true);
    await this.#apply(groups, 'remove');
    await this.#apply(groups, 'write');
  }

  async #apply(groups: readonly EditGroup[], step: PolicyStep): Promise<void> {
    const { keys, values } = stepBytes(groups, step);
    if (keys.length === 0) return;
    if (step !== 'remove') await this.#map.updateBatch(keys, values);
    // Somebody else has been at the map: what it holds is counted again before the next increment.
    else if ((await this.#map.deleteBatch(keys)) * this.#map.keySize !== keys.length) this.#content = undefined;
  }

  async #scan(): Promise<PolicyCount> {
    const content = emptyCount();
    for await (const { value } of this.#map.entries()) countEntry(content, value, policyValues);
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
