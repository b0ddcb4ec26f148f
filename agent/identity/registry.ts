import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { IDENTITY_SCOPE, type Identity, type IdentityId } from '../model/identity.ts';
import { canonicalLabels, type Label } from '../model/labels.ts';
import type { IdentityAgreement } from './agreement.ts';
import { IdentityAllocator, type IdentityChanges } from './allocator.ts';
import { RESERVED_IDENTITIES, reservedIdentity, scopeOf } from './reserved.ts';

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

  private constructor(allocators: Allocators) {
    this.#allocators = allocators;
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
    const registry = new IdentityRegistry({
      cluster: cluster.allocator,
      local: local.allocator,
      remoteNode: remoteNode.allocator,
    });
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
    return reservedIdentity(canonical) ?? this.#allocators[scopeOf(canonical)].acquire(canonical);
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
    const reserved = reservedIdentity(labels);
    if (reserved !== undefined) return reserved.id === id;
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
    const reserved = RESERVED_IDENTITIES.find((identity) => identity.id === id);
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
    return [...RESERVED_IDENTITIES, ...Object.values(this.#allocators).flatMap((allocator) => allocator.list())].sort(
      (a, b) => a.id - b.id,
    );
  }
}
