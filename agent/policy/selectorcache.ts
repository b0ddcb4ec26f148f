/**
 * Which identities each selector selects, kept current. Selectors are shared: whoever uses one acquires it and releases
 * it again. A change of identities or of what a dynamic selector means is told to the users of just the selectors that
 * it touches.
 */
import type { IdentityId } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';
import { AnchorIndex, type Filed, type Filing } from './anchors.ts';
import type { PolicyConfig } from './config.ts';
import { IdentityTable } from './identities.ts';
import type { DynamicPeer, SelectorSpec } from './selector.ts';
import { SlotSet } from './slotset.ts';
import { selects, type Labelled, type Term } from './term.ts';

/** Told of changes to the selectors that it uses. */
export interface SelectorUser {
  /** @param tag what the user called the selector when it first acquired it. */
  selectionChanged(tag: number, slot: number, added: boolean): void;
}

interface Use {
  readonly tag: number;
  /** How often it was acquired. */
  count: number;
}

/** A selector of the cache. */
export interface Selector {
  readonly text: string;
  readonly wildcard: boolean;
  /** Slots of the identities that it selects; empty for a wildcard. */
  readonly selection: SlotSet;
}

/** Gives the terms of a selector that depends on objects which come and go. */
export type DynamicTerms = (peer: DynamicPeer) => readonly Term[];

class CachedSelector implements Selector {
  readonly spec: SelectorSpec;
  filing: Filing<CachedSelector> = [];
  readonly selection = new SlotSet();
  readonly uses = new Map<SelectorUser, Use>();
  /** Round in which it was last found, so that finding it twice counts once. */
  round = 0;

  constructor(spec: SelectorSpec) {
    this.spec = spec;
  }

  get text(): string {
    return this.spec.text;
  }

  get wildcard(): boolean {
    return this.spec.wildcard;
  }
}

export class SelectorCache {
  readonly identities: IdentityTable;
  readonly #selectors = new Map<string, CachedSelector>();
  readonly #anchors = new AnchorIndex<CachedSelector>();
  readonly #dynamic: DynamicTerms;
  #round = 0;

  constructor(dynamic: DynamicTerms, cidrMatchMode: PolicyConfig['cidrMatchMode']) {
    this.#dynamic = dynamic;
    this.identities = new IdentityTable(cidrMatchMode);
  }

  /** The selector of this meaning; the user is told of its changes under `tag` until it has released it as often. */
  acquire(spec: SelectorSpec, user: SelectorUser, tag: number): Selector {
    let selector = this.#selectors.get(spec.text);
    if (selector === undefined) {
      const terms = spec.dynamic === undefined ? spec.terms : this.#dynamic(spec.dynamic);
      selector = new CachedSelector(spec);
      this.#selectors.set(spec.text, selector);
      selector.filing = this.#anchors.add(selector, spec.wildcard ? [] : terms);
      for (const term of terms) for (const slot of this.identities.select(term)) selector.selection.add(slot);
    }
    const use = selector.uses.get(user);
    if (use === undefined) selector.uses.set(user, { tag, count: 1 });
    else use.count++;
    return selector;
  }

  release(selector: Selector, user: SelectorUser): void {
    const cached = this.#selectors.get(selector.text);
    if (cached === undefined || cached !== selector) return;
    const use = cached.uses.get(user);
    if (use !== undefined && --use.count === 0) cached.uses.delete(user);
    if (cached.uses.size > 0) return;
    this.#selectors.delete(cached.text);
    this.#anchors.remove(cached.filing);
  }

  /** Adds an identity or changes the labels of a known one; gives its slot. */
  put(id: IdentityId, labels: readonly Label[]): number {
    const known = this.identities.slotOf(id);
    const before = known === undefined ? NONE : this.#holding(known);
    const slot = this.identities.put(id, labels);
    const after = this.#selecting(slot);
    for (const selector of before) if (!after.includes(selector)) this.#change(selector, slot, false);
    for (const selector of after) if (!before.includes(selector)) this.#change(selector, slot, true);
    return slot;
  }

  /** Takes an identity away; gives its slot, to be released once the users have followed. */
  remove(id: IdentityId): number | undefined {
    const slot = this.identities.slotOf(id);
    if (slot === undefined) return undefined;
    for (const selector of this.#holding(slot)) this.#change(selector, slot, false);
    this.identities.remove(slot);
    return slot;
  }

  /** Evaluates dynamic selectors again. */
  refreshDynamic(): void {
    for (const selector of this.#selectors.values()) {
      if (selector.spec.dynamic === undefined) continue;
      const terms = this.#dynamic(selector.spec.dynamic);
      this.#anchors.remove(selector.filing);
      selector.filing = this.#anchors.add(selector, terms);
      const after = new Set(terms.flatMap((term) => this.identities.select(term)));
      for (const slot of [...selector.selection.members]) if (!after.has(slot)) this.#change(selector, slot, false);
      for (const slot of after) if (!selector.selection.has(slot)) this.#change(selector, slot, true);
    }
  }

  entries(): readonly { readonly selector: Selector; readonly users: number }[] {
    return Array.from(this.#selectors.values(), (selector) => ({ selector, users: selector.uses.size }));
  }

  /** Selectors whose terms select the identity in a slot. */
  #selecting(slot: number): readonly CachedSelector[] {
    const record = this.identities.record(slot)!;
    return this.#candidates(record, (filed) => selects(filed, record));
  }

  /** Selectors that have it selected. */
  #holding(slot: number): readonly CachedSelector[] {
    return this.#candidates(this.identities.record(slot)!, ({ item }) => item.selection.has(slot));
  }

  #candidates(record: Labelled, chosen: (filed: Filed<CachedSelector>) => boolean): readonly CachedSelector[] {
    const found: CachedSelector[] = [];
    const round = ++this.#round;
    this.#anchors.candidates(record, (filed) => {
      if (filed.item.round === round || !chosen(filed)) return;
      filed.item.round = round;
      found.push(filed.item);
    });
    return found;
  }

  #change(selector: CachedSelector, slot: number, added: boolean): void {
    if (added) selector.selection.add(slot);
    else selector.selection.delete(slot);
    for (const [user, { tag }] of selector.uses) user.selectionChanged(tag, slot, added);
  }
}

const NONE: readonly CachedSelector[] = [];
