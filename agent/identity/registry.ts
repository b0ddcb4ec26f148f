import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import type { IdentityAgreement } from './agreement.ts';
import { IDENTITY_SCOPE, RESERVED_IDENTITY, type Identity, type IdentityId } from '../model/identity.ts';
import { canonicalLabels, labelSetKey, type Label } from '../model/labels.ts';
import { IdentityAllocator, type IdentityChanges } from './allocator.ts';
import { isHost, RESERVED_IDENTITIES, reservedIdentity, scopeOf } from './reserved.ts';

export interface RegistryOptions {
  /** Directory that keeps the numbers across restarts. */
  readonly stateDir: string;
  readonly clock: Clock;
  /** Called in the turn in which an identity appears or disappears, before anybody can use it. */
  readonly onChange: (changes: IdentityChanges) => void;
  /** How the numbers of pods' labels are agreed on with other nodes; absent: this node alone says. */
  readonly agreement?: IdentityAgreement;
  /** Somebody holds an identity whose labels have another number from now on, because the cluster knows them by that. */
  readonly onRenumbered?: () => void;
  readonly graceMs?: number;
}

type Allocators = Readonly<Record<'cluster' | 'local' | 'remoteNode', IdentityAllocator>>;

/** Every identity that this node knows: the reserved ones, those of its pods, and those of prefixes (S1, S2). */
export class IdentityRegistry {
  readonly #allocators: Allocators;
  readonly #onChange: (changes: IdentityChanges) => void;
  #reserved = RESERVED_IDENTITIES;

  private constructor(allocators: Allocators, onChange: (changes: IdentityChanges) => void) {
    this.#allocators = allocators;
    this.#onChange = onChange;
  }

  /** Takes up the numbers of the last run. Files that do not decode are set aside and told in `problems`. */
  static async open(options: RegistryOptions): Promise<{ registry: IdentityRegistry; problems: WeirError[] }> {
    const { stateDir, agreement, ...common } = options;
    const open = (name: string, file: string, scope: { first: number; last: number }, agreed = {}) =>
      IdentityAllocator.open({ ...common, ...agreed, name, scope, path: `${stateDir}/${file}` });
    const [cluster, local, remoteNode] = await Promise.all([
      open('cluster', 'identities.json', IDENTITY_SCOPE.cluster, agreement === undefined ? {} : { agreement }),
      open('node', 'local-identities.json', { ...IDENTITY_SCOPE.local, first: IDENTITY_SCOPE.local.first + 1 }),
      open('remote nodes', 'node-identities.json', {
        ...IDENTITY_SCOPE.remoteNode,
        first: IDENTITY_SCOPE.remoteNode.first + 1,
      }),
    ]);
    const allocators = { cluster: cluster.allocator, local: local.allocator, remoteNode: remoteNode.allocator };
    const registry = new IdentityRegistry(allocators, options.onChange);
    const problems = [cluster, local, remoteNode].flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
    return { registry, problems };
  }

  /**
   * The identity of a label set, with one more reference on it. Labels of a reserved identity give that one.
   *
   * @throws WeirError IDENTITY_EXHAUSTED, STATE_WRITE_FAILED
   */
  async acquire(labels: Iterable<Label>): Promise<Identity> {
    const canonical = canonicalLabels(labels);
    if (isHost(canonical)) return this.#relabelHost(canonical);
    return reservedIdentity(canonical) ?? this.#allocators[scopeOf(canonical)].acquire(canonical);
  }

  /** The node is the host whatever other labels it has; what has them from now on is identity 1. */
  #relabelHost(labels: readonly Label[]): Identity {
    const host = { id: RESERVED_IDENTITY.host, labels };
    if (labelSetKey(this.get(host.id).labels) === labelSetKey(labels)) return host;
    this.#reserved = this.#reserved.map((identity) => (identity.id === host.id ? host : identity));
    this.#onChange({ added: [host], removed: [] });
    return host;
  }

  /** As {@link acquire}, for a set that had a number before; gives that number when it is still to be had. */
  async adopt(identity: Identity): Promise<Identity> {
    const canonical = canonicalLabels(identity.labels);
    return (
      reservedIdentity(canonical) ?? this.#allocators[scopeOf(canonical)].adopt({ id: identity.id, labels: canonical })
    );
  }

  /**
   * Takes in an identity that the cluster knows: its labels have that number here, too, and whoever uses them under
   * another is told. Only identities of cluster scope are shared; others are left alone.
   */
  learn({ id, labels }: Identity): void {
    const canonical = canonicalLabels(labels);
    if (reservedIdentity(canonical) !== undefined || scopeOf(canonical) !== 'cluster') return;
    this.#allocators.cluster.learn({ id, labels: canonical });
  }

  /** The cluster no longer knows the identity; it lives on as long as somebody here holds it. */
  forget(id: IdentityId): void {
    this.#allocators.cluster.forget(id);
  }

  /** Identities that are in use here and that the cluster does not know. */
  unagreed(): Identity[] {
    return this.#allocators.cluster.unagreed();
  }

  /** Comes to an agreement with the cluster about one of {@link unagreed}. @throws as {@link acquire} */
  settle(identity: Identity): Promise<void> {
    return this.#allocators.cluster.settle(identity);
  }

  /** Since when this node has known an identity of a pod's labels: milliseconds since the epoch. */
  since(id: IdentityId): number | undefined {
    return this.#allocators.cluster.since(id);
  }

  /** Whether this is the number that the labels have now. */
  isCurrent({ id, labels }: Identity): boolean {
    const reserved = this.#reserved.find((identity) => identity.id === id);
    if (reserved !== undefined) return labelSetKey(reserved.labels) === labelSetKey(labels);
    if (reservedIdentity(labels) !== undefined) return false;
    return this.#allocators[scopeOf(labels)].find(labels)?.id === id;
  }

  /** Keeps a number whose labels are lost out of use until the next start. */
  reserve(id: IdentityId): void {
    for (const allocator of Object.values(this.#allocators)) allocator.reserve(id);
  }

  /** Gives back one reference; reserved and unknown numbers are fine. */
  release(id: IdentityId): void {
    for (const allocator of Object.values(this.#allocators)) allocator.release(id);
  }

  find(id: IdentityId): Identity | undefined {
    const reserved = this.#reserved.find((identity) => identity.id === id);
    if (reserved !== undefined) return reserved;
    for (const allocator of Object.values(this.#allocators)) {
      const found = allocator.get(id);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** @throws WeirError IDENTITY_NOT_FOUND */
  get(id: IdentityId): Identity {
    const found = this.find(id);
    if (found === undefined)
      throw new WeirError('IDENTITY_NOT_FOUND', 'no such identity', { object: `identity ${id}` });
    return found;
  }

  /** References on an identity that was allocated here; reserved ones are not counted. */
  references(id: IdentityId): number {
    return Object.values(this.#allocators).reduce((sum, allocator) => sum + allocator.references(id), 0);
  }

  /** All of them, ascending. */
  list(): Identity[] {
    return [...this.#reserved, ...Object.values(this.#allocators).flatMap((allocator) => allocator.list())].sort(
      (a, b) => a.id - b.id,
    );
  }
}
