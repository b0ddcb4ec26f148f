/** The map state of an endpoint: both directions, as the kernel's map has them, and what changed in them. */
import type { IdentityId } from '../model/identity.ts';
import {
  eachChange,
  policyKeyText,
  type ChangeGroup,
  type Direction,
  type EntryChange,
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
  /** Ports of redirects by their ids. */
  readonly #ports: Map<string, number>;
  #formed = new WeakMap<Entry, PolicyEntry>();
  #tables = new WeakMap<PortTable, readonly PolicyEntry[]>();

  constructor(proxyPort: ProxyPortResolver, ports = new Map<string, number>()) {
    this.#proxyPort = proxyPort;
    this.#ports = ports;
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

  /** Asks the resolver again; gives the redirects whose port changed, and the form that entries had before. */
  refresh(redirects: Iterable<Redirect>): { readonly changed: ReadonlySet<string>; readonly formerly: EntryForm } {
    const changed = new Set<string>();
    const formerly = new EntryForm(this.#proxyPort, new Map(this.#ports));
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
    return { changed, formerly };
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
      ...(entry.audited === true && { audited: true }),
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
    for (const { direction, slot, table } of this.#tables()) {
      const identity = slot === undefined ? ANY : this.#identities.idOf(slot);
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
    const out = new ChangeList(this.form, this.#identities);
    for (const { slot, before, after } of moved) out.add(slot, out.group(direction, before, after));
    return out;
  }

  /** Takes over another resolution of the policy; gives what it changes. */
  replace(next: Distilled): MapStateChanges {
    const out = new ChangeList(this.form, this.#identities);
    for (const direction of ['ingress', 'egress'] as const) out.compare(this.#distilled[direction], next[direction]);
    this.#distilled = next;
    return out;
  }

  /** Entries whose redirect is among these, written anew: what they were is said by the form of before. */
  rewritten(redirects: ReadonlySet<string>, formerly: EntryForm): MapStateChanges {
    const out = new ChangeList(this.form, this.#identities);
    for (const { direction, slot, table } of this.#tables()) {
      out.add(slot, out.rewritten(direction, table, redirects, formerly));
    }
    return out;
  }

  /** The tables of identity 0, which has no slot, and of every identity with entries of its own. */
  *#tables(): Iterable<{
    readonly direction: Direction;
    readonly slot: number | undefined;
    readonly table: PortTable;
  }> {
    for (const state of [this.#distilled.ingress, this.#distilled.egress]) {
      const { direction } = state;
      yield { direction, slot: undefined, table: state.any };
      for (let slot = 0; slot < state.slotLimit; slot++) {
        const table = state.table(slot);
        if (table.size > 0) yield { direction, slot, table };
      }
    }
  }
}

interface OpenGroup extends ChangeGroup {
  readonly identities: IdentityId[];
}

/** Collects differences between tables of many identities, of which few are distinct. */
class ChangeList implements MapStateChanges {
  readonly groups: OpenGroup[] = [];
  size = 0;
  readonly #form: EntryForm;
  readonly #identities: IdentityTable;
  /** Undefined: no difference. */
  readonly #known = { ingress: new Known(), egress: new Known() };

  constructor(form: EntryForm, identities: IdentityTable) {
    this.#form = form;
    this.#identities = identities;
  }

  /** The identity in the slot, or 0, has these changes. */
  add(slot: number | undefined, group: OpenGroup | undefined): void {
    if (group === undefined) return;
    if (group.identities.length === 0) this.groups.push(group);
    group.identities.push(slot === undefined ? ANY : this.#identities.idOf(slot));
    this.size += group.entries.length;
  }

  /** Adds what differs between two resolutions of one direction. */
  compare(from: DirectionState, to: DirectionState): void {
    if (from === to) return;
    const { direction } = to;
    this.add(undefined, this.group(direction, from.any, to.any));
    // Identities of one class mostly go to one class together.
    const last: { readonly to: number; readonly group: OpenGroup | undefined }[] = [];
    const limit = Math.max(from.slotLimit, to.slotLimit);
    for (let slot = 0; slot < limit; slot++) {
      const [before, after] = [from.classAt(slot), to.classAt(slot)];
      let known = last[before];
      if (known?.to !== after) {
        const group = this.group(direction, from.tableOfClass(before), to.tableOfClass(after));
        last[before] = known = { to: after, group };
      }
      if (known.group !== undefined) this.add(slot, known.group);
    }
  }

  /** What the difference between two tables is. */
  group(direction: Direction, before: PortTable, after: PortTable): OpenGroup | undefined {
    if (before === after) return undefined;
    return this.#known[direction].get(before, after, () => openGroup(direction, tableDiff(before, after, this.#form)));
  }

  /** As {@link group}, for a table that stays, with entries that have another form than before. */
  rewritten(
    direction: Direction,
    table: PortTable,
    redirects: ReadonlySet<string>,
    formerly: EntryForm,
  ): OpenGroup | undefined {
    return this.#known[direction].get(table, table, () =>
      openGroup(
        direction,
        table.entries.flatMap((entry, i) =>
          entry.redirect === undefined || !redirects.has(entry.redirect.id)
            ? []
            : [entryChange(table.keys[i]!, formerly.of(entry), this.#form.of(entry))],
        ),
      ),
    );
  }
}

/** Groups by the tables that they lead from and to. */
class Known {
  readonly #groups = new Map<PortTable, Map<PortTable, OpenGroup | undefined>>();

  get(before: PortTable, after: PortTable, make: () => OpenGroup | undefined): OpenGroup | undefined {
    let byAfter = this.#groups.get(before);
    if (byAfter === undefined) this.#groups.set(before, (byAfter = new Map<PortTable, OpenGroup | undefined>()));
    if (byAfter.has(after)) return byAfter.get(after);
    const group = make();
    byAfter.set(after, group);
    return group;
  }
}

function openGroup(direction: Direction, entries: readonly EntryChange[]): OpenGroup | undefined {
  return entries.length === 0 ? undefined : { direction, identities: [], entries };
}

function tableDiff(before: PortTable, after: PortTable, form: EntryForm): readonly EntryChange[] {
  const changes: EntryChange[] = [];
  for (const [i, key] of after.keys.entries()) {
    const entry = after.entries[i]!;
    const former = before.get(key);
    if (former === undefined || !entriesEqual(former, entry)) {
      changes.push(entryChange(key, former && form.of(former), form.of(entry)));
    }
  }
  for (const [i, key] of before.keys.entries()) {
    if (after.indexOf(key) < 0) changes.push(entryChange(key, form.of(before.entries[i]!), undefined));
  }
  return changes;
}

function entryChange(key: PortKey, before: PolicyEntry | undefined, after: PolicyEntry | undefined): EntryChange {
  return { protocol: keyProtocol(key), port: keyPort(key), portPrefix: keyPrefix(key), before, after };
}

function policyKey(direction: Direction, identity: IdentityId, key: PortKey): PolicyKey {
  return { direction, identity, protocol: keyProtocol(key), port: keyPort(key), portPrefix: keyPrefix(key) };
}

/** Applies changes to a copy of a map state, as the kernel's map would: for tests and for those who keep copies. */
export function applyChanges(map: Map<string, readonly [PolicyKey, PolicyEntry]>, changes: MapStateChanges): void {
  for (const [key, { after }] of eachChange(changes)) {
    if (after === undefined) map.delete(policyKeyText(key));
    else map.set(policyKeyText(key), [key, after]);
  }
}
