/** The map state of an endpoint: both directions, as the kernel's map has them, and what changed in them. */
import type { IdentityId } from '../model/identity.ts';
import {
  policyKeyText,
  type Direction,
  type MapStateChanges,
  type PolicyEntry,
  type PolicyKey,
} from '../model/mapstate.ts';
import type { EndpointMapState, LookupResult, ProxyPortResolver, Redirect } from './contract.ts';
import type { ClassChange, DirectionState } from './distillation.ts';
import { entriesEqual, PortTable, type Entry } from './entry.ts';
import type { IdentityTable } from './identities.ts';
import { lookup } from './lookup.ts';
import { keyPort, keyPrefix, keyProtocol, type PortKey } from './ports.ts';

/** An explicit `disabled` as the model writes it. */
const AUTH_DISABLED = 255;
const ANY = 0 as IdentityId;

/** Both directions of one resolved policy. */
export interface Distilled {
  readonly ingress: DirectionState;
  readonly egress: DirectionState;
}

/** Entries as the kernel wants them, with an endpoint's own proxy ports. */
export class EntryForm {
  readonly #proxyPort: ProxyPortResolver;
  readonly #ports = new Map<string, number>();
  #formed = new WeakMap<Entry, PolicyEntry>();
  #tables = new WeakMap<PortTable, readonly PolicyEntry[]>();

  constructor(proxyPort: ProxyPortResolver) {
    this.#proxyPort = proxyPort;
  }

  of(entry: Entry): PolicyEntry {
    let formed = this.#formed.get(entry);
    if (formed === undefined) this.#formed.set(entry, (formed = this.#form(entry)));
    return formed;
  }

  /** Entries of a table, in its order. */
  ofTable(table: PortTable): readonly PolicyEntry[] {
    let formed = this.#tables.get(table);
    if (formed === undefined) this.#tables.set(table, (formed = table.entries.map((entry) => this.of(entry))));
    return formed;
  }

  /** Asks the resolver again; gives the redirects whose port changed. */
  refresh(redirects: Iterable<Redirect>): ReadonlySet<string> {
    const changed = new Set<string>();
    for (const redirect of redirects) {
      const port = this.#proxyPort(redirect);
      const known = this.#ports.get(redirect.id);
      if (known !== undefined && known !== port) changed.add(redirect.id);
      this.#ports.set(redirect.id, port);
    }
    if (changed.size > 0) {
      this.#formed = new WeakMap();
      this.#tables = new WeakMap();
    }
    return changed;
  }

  #port(redirect: Redirect): number {
    let port = this.#ports.get(redirect.id);
    if (port === undefined) this.#ports.set(redirect.id, (port = this.#proxyPort(redirect)));
    return port;
  }

  #form(entry: Entry): PolicyEntry {
    const proxyPort = entry.redirect === undefined ? 0 : this.#port(entry.redirect);
    const disabled = entry.authExplicit && entry.authType === 0;
    return {
      // Traffic that a proxy must see is not let past while there is none.
      deny: entry.verdict === 'deny' || (entry.redirect !== undefined && proxyPort === 0),
      proxyPort,
      authType: disabled ? AUTH_DISABLED : entry.authType,
      authExplicit: entry.authExplicit,
      precedence: entry.precedence,
      cookie: entry.cookie,
    };
  }
}

export class MapState implements EndpointMapState {
  readonly #identities: IdentityTable;
  readonly form: EntryForm;
  #distilled: Distilled;

  constructor(distilled: Distilled, identities: IdentityTable, form: EntryForm) {
    this.#distilled = distilled;
    this.#identities = identities;
    this.form = form;
  }

  get distilled(): Distilled {
    return this.#distilled;
  }

  get size(): number {
    return this.#distilled.ingress.size + this.#distilled.egress.size;
  }

  *entries(): Iterable<readonly [PolicyKey, PolicyEntry]> {
    for (const { direction, identity, table } of this.#tables()) {
      const formed = this.form.ofTable(table);
      for (let i = 0; i < table.size; i++) yield [policyKey(direction, identity, table.keys[i]!), formed[i]!];
    }
  }

  lookup(direction: Direction, identity: IdentityId, protocol: number, port: number): LookupResult {
    const state = this.#distilled[direction];
    const entry = lookup(state.table(this.#identities.slotOf(identity)), state.any, protocol, port);
    if (entry === undefined) return { verdict: 'default-deny', entry: undefined, redirect: undefined };
    if (entry.verdict === 'deny') {
      const verdict = entry.defaultDeny === true ? 'default-deny' : 'deny';
      return { verdict, entry: this.form.of(entry), redirect: undefined };
    }
    return { verdict: 'allow', entry: this.form.of(entry), redirect: entry.redirect };
  }

  /** Changes of one direction as map changes. */
  changes(direction: Direction, moved: readonly ClassChange[]): MapStateChanges {
    const out = new ChangeList(this.form);
    for (const { slot, before, after } of moved) out.diff(direction, this.#identities.idOf(slot), before, after);
    return out;
  }

  /** Takes over another resolution of the policy; gives what it changes. */
  replace(next: Distilled): MapStateChanges {
    const out = new ChangeList(this.form);
    const last = this.#distilled;
    for (const direction of ['ingress', 'egress'] as const) {
      const [from, to] = [last[direction], next[direction]];
      if (from === to) continue;
      out.diff(direction, ANY, from.any, to.any);
      const limit = Math.max(from.slotLimit, to.slotLimit);
      for (let slot = 0; slot < limit; slot++) {
        const [before, after] = [from.table(slot), to.table(slot)];
        if (before !== after) out.diff(direction, this.#identities.idOf(slot), before, after);
      }
    }
    this.#distilled = next;
    return out;
  }

  /** Entries whose redirect is among these, written anew. */
  rewritten(redirects: ReadonlySet<string>): MapStateChanges {
    const upserts: (readonly [PolicyKey, PolicyEntry])[] = [];
    for (const { direction, identity, table } of this.#tables()) {
      for (const [i, entry] of table.entries.entries()) {
        if (entry.redirect === undefined || !redirects.has(entry.redirect.id)) continue;
        upserts.push([policyKey(direction, identity, table.keys[i]!), this.form.of(entry)]);
      }
    }
    return { upserts, deletes: [] };
  }

  /** The tables of identity 0 and of every identity with entries of its own. */
  *#tables(): Iterable<{ readonly direction: Direction; readonly identity: IdentityId; readonly table: PortTable }> {
    for (const state of [this.#distilled.ingress, this.#distilled.egress]) {
      const { direction } = state;
      yield { direction, identity: ANY, table: state.any };
      for (let slot = 0; slot < state.slotLimit; slot++) {
        const table = state.table(slot);
        if (table.size > 0) yield { direction, identity: this.#identities.idOf(slot), table };
      }
    }
  }
}

/** Collects differences between tables of many identities, of which few are distinct. */
class ChangeList implements MapStateChanges {
  readonly upserts: (readonly [PolicyKey, PolicyEntry])[] = [];
  readonly deletes: PolicyKey[] = [];
  readonly #form: EntryForm;
  readonly #known = new Map<PortTable, Map<PortTable, TableDiff>>();

  constructor(form: EntryForm) {
    this.#form = form;
  }

  diff(direction: Direction, identity: IdentityId, before: PortTable, after: PortTable): void {
    if (before.size === 0) this.#upsertAll(direction, identity, after, this.#form.ofTable(after));
    else if (after.size === 0) this.#deleteAll(direction, identity, before);
    else if (before !== after) this.#difference(direction, identity, before, after);
  }

  #upsertAll(direction: Direction, identity: IdentityId, { keys }: PortTable, formed: readonly PolicyEntry[]): void {
    for (let i = 0; i < keys.length; i++) this.upserts.push([policyKey(direction, identity, keys[i]!), formed[i]!]);
  }

  #deleteAll(direction: Direction, identity: IdentityId, { keys }: PortTable): void {
    for (let i = 0; i < keys.length; i++) this.deletes.push(policyKey(direction, identity, keys[i]!));
  }

  #difference(direction: Direction, identity: IdentityId, before: PortTable, after: PortTable): void {
    const { deleted, upserted } = this.#tableDiff(before, after);
    for (const key of deleted) this.deletes.push(policyKey(direction, identity, key));
    for (const [key, entry] of upserted) {
      this.upserts.push([policyKey(direction, identity, key), this.#form.of(entry)]);
    }
  }

  #tableDiff(before: PortTable, after: PortTable): TableDiff {
    let byAfter = this.#known.get(before);
    if (byAfter === undefined) this.#known.set(before, (byAfter = new Map<PortTable, TableDiff>()));
    let diff = byAfter.get(after);
    if (diff === undefined) byAfter.set(after, (diff = tableDiff(before, after)));
    return diff;
  }
}

interface TableDiff {
  readonly deleted: readonly PortKey[];
  readonly upserted: readonly (readonly [PortKey, Entry])[];
}

function tableDiff(before: PortTable, after: PortTable): TableDiff {
  const upserted: (readonly [PortKey, Entry])[] = [];
  for (const [i, key] of after.keys.entries()) {
    const entry = after.entries[i]!;
    const former = before.get(key);
    if (former === undefined || !entriesEqual(former, entry)) upserted.push([key, entry]);
  }
  return { deleted: Array.from(before.keys).filter((key) => after.indexOf(key) < 0), upserted };
}

function policyKey(direction: Direction, identity: IdentityId, key: PortKey): PolicyKey {
  return { direction, identity, protocol: keyProtocol(key), port: keyPort(key), portPrefix: keyPrefix(key) };
}

/** Applies changes to a copy of a map state, as the kernel's map would: for tests and for those who keep copies. */
export function applyChanges(map: Map<string, readonly [PolicyKey, PolicyEntry]>, changes: MapStateChanges): void {
  for (const key of changes.deletes) map.delete(policyKeyText(key));
  for (const [key, entry] of changes.upserts) map.set(policyKeyText(key), [key, entry]);
}
