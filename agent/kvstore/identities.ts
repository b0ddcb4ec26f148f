/**
 * Identities in etcd: how the nodes of a cluster come to one number for a label set, and keep it.
 *
 * Three keys belong to an identity (layout.ts): the number's own says the labels, the labels' own says the number, and each
 * node that uses it has a leased one. The first two are only ever made and deleted together, in one transaction, under the
 * condition that neither is there, or both are as they were. So no number has two label sets, and no label set has two
 * numbers. A node takes its own key in a transaction with the condition that the first two are there, and the operator
 * deletes them under the condition that no node's is. So whoever has its own key has an identity that stays.
 *
 * What is lost all the same, because the store lost it, is made again by those who use it, under the same number.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { IDENTITY_SCOPE, identityId, type Identity, type IdentityId } from '../model/identity.ts';
import { canonicalLabels, type Label } from '../model/labels.ts';
import type { EtcdClient } from './etcd/client.ts';
import { isLeaseGone } from './etcd/faults.ts';
import type { KeyValue, Operation } from './etcd/txn.ts';
import { IDENTITIES, idKey, labelsKey, labelsText, userKey } from './layout.ts';
import type { Session } from './session.ts';

export interface KvstoreIdentitiesOptions {
  readonly client: Pick<EtcdClient, 'txn' | 'delete' | 'leasedKeys'>;
  readonly session: Pick<Session, 'lease' | 'lost' | 'isLive'>;
  readonly clock: Clock;
  /** Of this node, as no other in the cluster has it. */
  readonly nodeName: string;
  /** Numbers to give, inclusive. */
  readonly scope?: { readonly first: number; readonly last: number };
  /** Whether somebody in the cluster was last known to use the identity. */
  readonly isUsed: (id: IdentityId) => boolean;
  /** How long a lease is waited for, in milliseconds. */
  readonly waitMs?: number;
}

/** More rounds than this are no race any more. */
const ROUNDS = 64;
/** Long enough for a store to change its leader, short enough for a runtime that waits. */
const WAIT_MS = 8_000;

/** An identity that this node uses, or has used a moment ago. */
interface Held {
  readonly identity: Identity;
  /** Under which the node's own key stands; undefined while it is not known to. */
  lease: string | undefined;
  /** Found unused by the last look. */
  idle: boolean;
}

export class KvstoreIdentities {
  readonly #options: KvstoreIdentitiesOptions;
  readonly #scope: { readonly first: number; readonly last: number };
  readonly #held = new Map<IdentityId, Held>();
  /** What is under way for a label set: the next waits for it. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: KvstoreIdentitiesOptions) {
    this.#options = options;
    this.#scope = options.scope ?? IDENTITY_SCOPE.cluster;
  }

  /**
   * The identity of the labels, for the whole cluster.
   *
   * @param preferred the number to give them, if it is free and they have none
   * @throws WeirError IDENTITY_EXHAUSTED when no number is free, KVSTORE_UNREACHABLE, KVSTORE_REFUSED
   */
  agree(labels: readonly Label[], preferred?: IdentityId): Promise<Identity> {
    const canonical = canonicalLabels(labels);
    const text = labelsText(canonical);
    return this.#inTurn(text, async () => {
      const id = await this.#withLease((lease) => this.#number(text, lease, preferred));
      return this.#hold({ id: id.value, labels: canonical }, id.lease).identity;
    });
  }

  /**
   * Whether the identity is there still; when this resolves, it stays. While the store is away for no longer than a lease
   * lasts, what was in use when it went is taken to be there: the operator deletes nothing that was used in that time.
   *
   * @throws WeirError KVSTORE_UNREACHABLE, KVSTORE_REFUSED
   */
  reuse(identity: Identity): Promise<boolean> {
    const text = labelsText(identity.labels);
    return this.#inTurn(text, async () => {
      const held = this.#held.get(identity.id);
      if (held?.lease !== undefined) {
        held.idle = false;
        return true;
      }
      try {
        const joined = await this.#withLease((lease) => this.#join(text, identity.id, lease));
        if (joined.value) this.#hold(identity, joined.lease);
        return joined.value;
      } catch (error) {
        if (!isUnreachable(error) || !this.#options.session.isLive || !this.#options.isUsed(identity.id)) throw error;
        this.#hold(identity, undefined);
        return true;
      }
    });
  }

  /** How many identities this node says that it uses. */
  get size(): number {
    return this.#held.size;
  }

  /** The lease is another one, or the store may have lost something: nothing is known to stand. */
  forgetLease(): void {
    for (const held of this.#held.values()) held.lease = undefined;
  }

  /** A key is missing, by its name behind the prefix of users. */
  missing(id: IdentityId): void {
    const held = this.#held.get(id);
    if (held !== undefined) held.lease = undefined;
  }

  /**
   * Says of exactly these identities that this node uses them; one that is used no more for two looks in a row is let go.
   *
   * @returns those that could not be kept: their number belongs to other labels
   * @throws WeirError KVSTORE_UNREACHABLE, KVSTORE_REFUSED
   */
  async sync(inUse: readonly Identity[]): Promise<readonly Identity[]> {
    const lost: Identity[] = [];
    const used = new Set(inUse.map(({ id }) => id));
    for (const identity of inUse) if (!(await this.#assert(identity))) lost.push(identity);
    for (const [id, held] of this.#held) {
      if (used.has(id)) held.idle = false;
      else if (held.idle) await this.#release(held);
      else held.idle = true;
    }
    return lost;
  }

  /** Lets go of what an earlier run of this node used and this one does not. @throws as {@link sync} */
  async prune(): Promise<void> {
    const lease = await this.#lease();
    const wanted = new Set([...this.#held.values()].map(({ identity }) => this.#userKey(identity.labels)));
    for (const key of await this.#options.client.leasedKeys(lease)) {
      if (key.startsWith(IDENTITIES.byUser) && !wanted.has(key)) await this.#options.client.delete(key);
    }
  }

  /** Whether the identity stays under its number. It is made again if the store has lost it. */
  #assert(identity: Identity): Promise<boolean> {
    const text = labelsText(identity.labels);
    return this.#inTurn(text, async () => {
      if (this.#held.get(identity.id)?.lease !== undefined) return true;
      const kept = await this.#withLease(
        async (lease) =>
          (await this.#join(text, identity.id, lease)) || (await this.#create(text, identity.id, lease)) === 'done',
      );
      if (kept.value) this.#hold(identity, kept.lease);
      else this.#held.delete(identity.id);
      return kept.value;
    });
  }

  #release(held: Held): Promise<void> {
    const { id, labels } = held.identity;
    return this.#inTurn(labelsText(labels), async () => {
      // Somebody may have come to use it while this waited.
      if (!held.idle) return;
      this.#held.delete(id);
      await this.#options.client.delete(this.#userKey(labels));
    });
  }

  /** The number of the labels, with this node's key. */
  async #number(text: string, lease: string, preferred: IdentityId | undefined): Promise<IdentityId> {
    for (let round = 0; round < ROUNDS; round++) {
      const made = await this.#make(text, lease, preferred);
      if (made.kind === 'new') return made.id;
      // It may have been collected a moment ago.
      if (await this.#join(text, made.id, lease)) return made.id;
      await this.#mend(text, made.id);
    }
    throw new WeirError('IDENTITY_EXHAUSTED', `no number in ${ROUNDS} rounds: others keep changing it`, {
      object: text,
    });
  }

  /** Makes an identity under the first number that is free; or says which the labels have. */
  async #make(
    text: string,
    lease: string,
    preferred: IdentityId | undefined,
  ): Promise<{ readonly kind: 'new' | 'old'; readonly id: IdentityId }> {
    for (const id of numbers(text, this.#scope, preferred)) {
      const outcome = await this.#create(text, id, lease);
      if (outcome === 'done') return { kind: 'new', id };
      if (outcome !== 'taken') return { kind: 'old', id: outcome };
    }
    const { first, last } = this.#scope;
    throw new WeirError('IDENTITY_EXHAUSTED', `all ${last - first + 1} identities of the cluster are taken`);
  }

  /**
   * Makes the three keys, under this number.
   *
   * @returns the number that the labels have, if they have one; `taken` when others have this one
   */
  async #create(text: string, id: IdentityId, lease: string): Promise<'done' | 'taken' | IdentityId> {
    const { succeeded, found } = await this.#options.client.txn(
      [
        { is: 'absent', key: labelsKey(text) },
        { is: 'absent', key: idKey(id) },
      ],
      [
        { do: 'put', key: labelsKey(text), value: String(id) },
        { do: 'put', key: idKey(id), value: text },
        this.#putOwn(text, id, lease),
      ],
      [
        { do: 'get', key: labelsKey(text) },
        { do: 'get', key: idKey(id) },
      ],
    );
    if (succeeded) return 'done';
    const [byLabels, byId] = found;
    if (byLabels !== undefined) return identityId(Number(byLabels.value));
    // Somebody else's tool made the number and not the other key.
    if (byId?.value === text && (await this.#adopt(text, id, byId, lease))) return 'done';
    return 'taken';
  }

  async #adopt(text: string, id: IdentityId, byId: KeyValue, lease: string): Promise<boolean> {
    const { succeeded } = await this.#options.client.txn(
      [
        { is: 'absent', key: labelsKey(text) },
        { is: 'unchanged', key: idKey(id), revision: byId.modRevision },
      ],
      [{ do: 'put', key: labelsKey(text), value: String(id) }, this.#putOwn(text, id, lease)],
    );
    return succeeded;
  }

  /** Takes this node's key of an identity that is there. */
  async #join(text: string, id: IdentityId, lease: string): Promise<boolean> {
    const { succeeded } = await this.#options.client.txn(
      [
        { is: 'equal', key: labelsKey(text), value: String(id) },
        { is: 'equal', key: idKey(id), value: text },
      ],
      [this.#putOwn(text, id, lease)],
    );
    return succeeded;
  }

  /** The labels name a number that does not name them: somebody deleted one key by hand. The other goes, too. */
  async #mend(text: string, id: IdentityId): Promise<void> {
    const named = { is: 'equal', key: labelsKey(text), value: String(id) } as const;
    const { succeeded, found } = await this.#options.client.txn(
      [named, { is: 'absent', key: idKey(id) }],
      [{ do: 'put', key: idKey(id), value: text }],
      [{ do: 'get', key: idKey(id) }],
    );
    const other = found[0];
    if (succeeded || other === undefined || other.value === text) return;
    await this.#options.client.txn(
      [named, { is: 'unchanged', key: idKey(id), revision: other.modRevision }],
      [{ do: 'delete', key: labelsKey(text) }],
    );
  }

  #putOwn(text: string, id: IdentityId, lease: string): Operation {
    return { do: 'put', key: userKey(text, this.#options.nodeName), value: String(id), lease };
  }

  #userKey(labels: readonly Label[]): string {
    return userKey(labelsText(labels), this.#options.nodeName);
  }

  #hold(identity: Identity, lease: string | undefined): Held {
    const held = { identity, lease, idle: false };
    this.#held.set(identity.id, held);
    return held;
  }

  #lease(): Promise<string> {
    return this.#options.session.lease(this.#options.waitMs ?? WAIT_MS);
  }

  /** Once more under another lease when the one that was had turns out to have ended. */
  async #withLease<T>(work: (lease: string) => Promise<T>): Promise<{ readonly value: T; readonly lease: string }> {
    for (let attempt = 1; ; attempt++) {
      const lease = await this.#lease();
      try {
        return { value: await work(lease), lease };
      } catch (error) {
        if (!isLeaseGone(error) || attempt > 2) throw error;
        this.#options.session.lost(lease);
      }
    }
  }

  /** One at a time for a label set: what takes a key and what lets go of it must not overtake each other. */
  #inTurn<T>(text: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(text) ?? Promise.resolve()).then(work, work);
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(text, settled);
    void settled.then(() => {
      if (this.#turns.get(text) === settled) this.#turns.delete(text);
    });
    return turn;
  }
}

const isUnreachable = (error: unknown): boolean => error instanceof WeirError && error.code === 'KVSTORE_UNREACHABLE';

/**
 * Numbers in an order that follows from the labels, each once; the preferred one before all. Nodes that make the same
 * identity meet at the same number, others seldom do.
 */
function* numbers(
  text: string,
  { first, last }: { readonly first: number; readonly last: number },
  preferred: IdentityId | undefined,
): Generator<IdentityId> {
  if (preferred !== undefined && preferred >= first && preferred <= last) yield preferred;
  const count = last - first + 1;
  const start = createHash('sha256').update(text).digest().readUInt32BE(0) % count;
  for (let i = 0; i < count; i++) {
    const id = identityId(first + ((start + i) % count));
    if (id !== preferred) yield id;
  }
}
