import type { IdentityId } from './identity.ts';

/** `ingress` and `egress` are always the endpoint's view. */
export type Direction = 'ingress' | 'egress';

/**
 * Key of a policy entry (S6), in host order. The identity is exact or 0 (any). `port` is significant in its first
 * `portPrefix` bits; `portPrefix` is 0 when `protocol` is 0.
 */
export interface PolicyKey {
  readonly direction: Direction;
  readonly identity: IdentityId;
  /** IANA number; 0 is any. */
  readonly protocol: number;
  /** Port, or ICMP type; host order; bits past the prefix are 0. */
  readonly port: number;
  /** Significant leading bits of the port, 0 to 16. */
  readonly portPrefix: number;
}

/** What an entry decides (S7, S8). */
export interface PolicyEntry {
  readonly deny: boolean;
  /** Port of the proxy's listener; 0 when the traffic is not redirected. Host order. */
  readonly proxyPort: number;
  /** 0 none, 1 spire, 2 test-always-fail, 255 explicitly disabled. */
  readonly authType: number;
  /** True when the rule itself names the authentication type; false when it is inherited (S11). */
  readonly authExplicit: boolean;
  /** Higher wins between the exact identity's and identity 0's match (S7). Unsigned 32 bits. */
  readonly precedence: number;
  /** Names the deciding rules in events: an index into the cookie table of the policy repository; 0 is none. */
  readonly cookie: number;
  /** An allowance that audited policies would deny; then the cookie names what would. */
  readonly audited?: boolean;
}

/** The policy of one endpoint, ready for the kernel. */
export interface MapStateView {
  readonly size: number;
  entries(): Iterable<readonly [PolicyKey, PolicyEntry]>;
}

/** What becomes of one protocol and port: absent before it comes, absent after it goes. */
export interface EntryChange extends Pick<PolicyKey, 'protocol' | 'port' | 'portPrefix'> {
  readonly before: PolicyEntry | undefined;
  readonly after: PolicyEntry | undefined;
}

/** Identities to which the same happens in one direction: what that is, is said, and made into bytes, once for all of them. */
export interface ChangeGroup {
  readonly direction: Direction;
  readonly identities: readonly IdentityId[];
  readonly entries: readonly EntryChange[];
}

/**
 * What changed between two map states; a key occurs once. It holds for a map that is as the first of the two says, so it is
 * applied once, and in order.
 */
export interface MapStateChanges {
  /** How many entries change. */
  readonly size: number;
  readonly groups: readonly ChangeGroup[];
}

/** Changes, entry by entry. */
export function* eachChange({ groups }: MapStateChanges): Iterable<readonly [PolicyKey, EntryChange]> {
  for (const { direction, identities, entries } of groups) {
    for (const identity of identities) {
      for (const change of entries) {
        const { protocol, port, portPrefix } = change;
        yield [{ direction, identity, protocol, port, portPrefix }, change];
      }
    }
  }
}

/** The same changes, told entry by entry: each key once. */
export function changesOf(
  entries: Iterable<readonly [PolicyKey, Pick<EntryChange, 'before' | 'after'>]>,
): MapStateChanges {
  const sum = new ChangeSum();
  for (const [key, { before, after }] of entries) {
    const { protocol, port, portPrefix } = key;
    sum.add(key.direction, key.identity, { protocol, port, portPrefix, before, after });
  }
  return sum.changes();
}

/** What changes that follow one another come to. */
export function mergeChanges(list: readonly MapStateChanges[]): MapStateChanges {
  if (list.length === 1) return list[0]!;
  const sum = new ChangeSum();
  for (const { groups } of list) {
    for (const { direction, identities, entries } of groups) {
      for (const identity of identities) for (const change of entries) sum.add(direction, identity, change);
    }
  }
  return sum.changes();
}

/** Of a key that changes several times the first tells what was there, and the last what shall be. */
class ChangeSum {
  readonly #byIdentity: Readonly<Record<Direction, Map<IdentityId, Map<number, EntryChange>>>> = {
    ingress: new Map(),
    egress: new Map(),
  };

  add(direction: Direction, identity: IdentityId, change: EntryChange): void {
    let entries = this.#byIdentity[direction].get(identity);
    if (entries === undefined) this.#byIdentity[direction].set(identity, (entries = new Map<number, EntryChange>()));
    const key = ((change.protocol << 5) | change.portPrefix) * 0x10000 + change.port;
    const earlier = entries.get(key);
    if (earlier === undefined) entries.set(key, change);
    else if (earlier.before === undefined && change.after === undefined) entries.delete(key);
    else entries.set(key, { ...change, before: earlier.before });
  }

  changes(): MapStateChanges {
    const groups: ChangeGroup[] = [];
    let size = 0;
    for (const direction of ['ingress', 'egress'] as const) {
      for (const [identity, entries] of this.#byIdentity[direction]) {
        if (entries.size > 0) groups.push({ direction, identities: [identity], entries: [...entries.values()] });
        size += entries.size;
      }
    }
    return { size, groups };
  }
}

/** A text that is equal for equal keys, and only for them. */
export function policyKeyText(key: PolicyKey): string {
  return `${key.direction}/${key.identity}/${key.protocol}/${key.port}/${key.portPrefix}`;
}
