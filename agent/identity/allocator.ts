import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { identityId, type Identity, type IdentityId } from '../model/identity.ts';
import { canonicalLabels, formatLabel, labelSetKey, parseLabel, type Label } from '../model/labels.ts';
import { JsonFile } from '../state/json-file.ts';
import type { IdentityAgreement } from './agreement.ts';

/** What came into being and what ceased to exist. */
export interface IdentityChanges {
  readonly added: readonly Identity[];
  readonly removed: readonly Identity[];
}

export interface AllocatorOptions {
  /** Name of the scope, for errors. */
  readonly name: string;
  /** Inclusive bounds of the numbers. */
  readonly scope: { readonly first: number; readonly last: number };
  /** Where the numbers are kept across restarts. */
  readonly path: string;
  readonly clock: Clock;
  /** Called in the turn in which an identity appears or disappears, before anybody can use it. */
  readonly onChange: (changes: IdentityChanges) => void;
  /** Absent: this node alone says which numbers there are. */
  readonly agreement?: IdentityAgreement;
  /** Somebody holds an identity whose labels have another number from now on, because the cluster knows them by that. */
  readonly onRenumbered?: () => void;
  /** How long an identity without users keeps its number. */
  readonly graceMs?: number;
}

interface Entry {
  readonly identity: Identity;
  /** When this node came to know it: milliseconds since the epoch. */
  readonly since: number;
  references: number;
  /** The whole cluster knows it by this number: it stays without users. */
  learned: boolean;
  /** Cancels the removal that is due when nobody takes the identity again. */
  cancelRemoval?: () => void;
}

/** Long enough for a Deployment to replace its pods, or for an agent to restore them. */
const GRACE_MS = 60_000;

/**
 * Numbers for label sets, unique in one scope (S1, S5), remembered in a file. Equal sets share a number as long as
 * anybody holds it and a while longer; a freed number is taken again only after all others, because flows that it
 * judged may still be under way.
 */
export class IdentityAllocator {
  readonly #options: AllocatorOptions;
  readonly #file: JsonFile<readonly StoredIdentity[]>;
  readonly #byId = new Map<IdentityId, Entry>();
  readonly #byLabels = new Map<string, Entry>();
  /** Numbers that something still refers to although their labels are unknown: never given out. */
  readonly #reserved = new Set<IdentityId>();
  /** Identities of the cluster whose numbers are still in use here for other labels. */
  readonly #awaited = new Map<IdentityId, Identity>();
  /** What is being agreed on, by labels. */
  readonly #agreeing = new Map<string, Promise<Identity>>();
  /** Known in memory, not yet on disk. */
  readonly #unsaved = new Set<Entry>();
  #cursor: number;

  private constructor(options: AllocatorOptions) {
    this.#options = options;
    this.#file = new JsonFile(options.path, decodeStored);
    this.#cursor = options.scope.first;
  }

  /**
   * Takes up what the file remembers. A file that does not decode is set aside and told in `problem`; the caller then
   * says with {@link adopt} and {@link reserve} which numbers are in use.
   */
  static async open(options: AllocatorOptions): Promise<{ allocator: IdentityAllocator; problem?: WeirError }> {
    const allocator = new IdentityAllocator(options);
    const outcome = await allocator.#file.read(options.clock.now());
    if (outcome.kind === 'corrupt') return { allocator, problem: outcome.error };
    if (outcome.kind === 'value') {
      for (const { id, labels } of outcome.value) {
        const identity = { id: identityId(id), labels: canonicalLabels(labels.map((text) => parseLabel(text))) };
        if (allocator.#inScope(identity.id)) allocator.#scheduleRemoval(allocator.#insert(identity));
      }
    }
    return { allocator };
  }

  /**
   * The identity of `labels`, with one more reference on it. Resolves when a restart would remember the number.
   *
   * @throws WeirError IDENTITY_EXHAUSTED, STATE_WRITE_FAILED, and what an agreement fails with; no reference is taken then.
   */
  async acquire(labels: Iterable<Label>): Promise<Identity> {
    const canonical = canonicalLabels(labels);
    return await this.#take(
      canonical,
      this.#options.agreement === undefined ? undefined : await this.#agreed(canonical),
    );
  }

  /**
   * Takes a reference on an identity that somebody remembered under a number of its own, such as an endpoint restored
   * from its state. Gives the identity that is to be used: another one when the number has gone to other labels.
   */
  async adopt(identity: Identity): Promise<Identity> {
    const labels = canonicalLabels(identity.labels);
    const taken = this.#byId.has(identity.id) || this.#byLabels.has(labelSetKey(labels));
    if (!taken && this.#inScope(identity.id)) {
      this.#reserved.delete(identity.id);
      const entry = this.#insert({ id: identity.id, labels });
      this.#hold(entry);
      await this.#save(entry);
      return entry.identity;
    }
    // What is in force must not wait for others: whether they agree is seen later.
    return this.#byLabels.has(labelSetKey(labels)) ? this.#take(labels) : this.acquire(labels);
  }

  /** Identities that are in use here and that the cluster does not know. */
  unagreed(): Identity[] {
    return [...this.#byId.values()]
      .filter((entry) => entry.references > 0 && !entry.learned)
      .map((entry) => entry.identity);
  }

  /**
   * Comes to an agreement about an identity that is in use here. Its labels may get another number by that; whoever uses
   * them is told.
   *
   * @throws as {@link acquire}
   */
  async settle({ id, labels }: Identity): Promise<void> {
    const agreed = await this.#agree(labels, id);
    if (agreed !== undefined) this.learn(agreed);
  }

  /** Since when this node has known an identity: milliseconds since the epoch. */
  since(id: IdentityId): number | undefined {
    return this.#byId.get(id)?.since;
  }

  /** Keeps a number out of use until the next start. */
  reserve(id: IdentityId): void {
    if (!this.#byId.has(id)) this.#reserved.add(id);
  }

  /**
   * Takes in an identity of the cluster: from now on its labels have this number. A set that has another number here keeps
   * it as long as it is held; labels that hold this number here are to move off it, and the identity comes when they have.
   */
  learn(identity: Identity): void {
    if (!this.#inScope(identity.id)) return;
    const key = labelSetKey(identity.labels);
    const taken = this.#byId.get(identity.id);
    if (taken !== undefined && labelSetKey(taken.identity.labels) !== key) {
      taken.learned = false;
      if (taken.references > 0) {
        this.#awaited.set(identity.id, identity);
        this.#displace(taken);
        this.#options.onRenumbered?.();
        return;
      }
      this.#remove(taken);
    }
    const rival = this.#byLabels.get(key);
    const entry = this.#byId.get(identity.id) ?? this.#insert(identity);
    entry.learned = true;
    entry.cancelRemoval?.();
    delete entry.cancelRemoval;
    this.#byLabels.set(key, entry);
    if (rival === undefined || rival === entry) return;
    if (rival.references === 0) this.#remove(rival);
    else this.#options.onRenumbered?.();
  }

  /** The cluster no longer knows the number. */
  forget(id: IdentityId): void {
    this.#awaited.delete(id);
    const entry = this.#byId.get(id);
    if (entry?.learned !== true) return;
    entry.learned = false;
    if (entry.references === 0) this.#scheduleRemoval(entry);
  }

  /** Gives back one reference; an unknown number is fine. */
  release(id: IdentityId): void {
    const entry = this.#byId.get(id);
    if (entry === undefined || entry.references === 0) return;
    entry.references--;
    if (entry.references > 0 || entry.learned) return;
    const awaited = this.#awaited.get(id);
    if (awaited === undefined) {
      this.#scheduleRemoval(entry);
      return;
    }
    this.#awaited.delete(id);
    this.#remove(entry);
    this.learn(awaited);
  }

  get(id: IdentityId): Identity | undefined {
    return this.#byId.get(id)?.identity;
  }

  /** The identity of a label set, if it has one. */
  find(labels: Iterable<Label>): Identity | undefined {
    return this.#byLabels.get(labelSetKey(canonicalLabels(labels)))?.identity;
  }

  references(id: IdentityId): number {
    return this.#byId.get(id)?.references ?? 0;
  }

  /** Ascending by number. */
  list(): Identity[] {
    return [...this.#byId.values()].map((entry) => entry.identity).sort((a, b) => a.id - b.id);
  }

  /** Holds what the labels have, or what they are given here. Resolves when a restart would remember it. */
  async #take(canonical: readonly Label[], agreed?: Entry): Promise<Identity> {
    const known = agreed ?? this.#byLabels.get(labelSetKey(canonical));
    const entry = known ?? this.#insert({ id: this.#nextNumber(), labels: canonical });
    // What the cluster knew and nobody here used is not in the file.
    const isNew = known === undefined || (entry.learned && entry.references === 0);
    this.#hold(entry);
    try {
      // Also for a known identity: another caller's write of it may still be under way.
      if (isNew || this.#unsaved.has(entry)) await this.#save(entry);
    } catch (error) {
      this.release(entry.identity.id);
      throw error;
    }
    return entry.identity;
  }

  /** The identity of the labels as the cluster has it. */
  async #agreed(labels: readonly Label[]): Promise<Entry> {
    const key = labelSetKey(labels);
    for (let attempt = 0; attempt < 50; attempt++) {
      const known = this.#byLabels.get(key);
      // In use already: whoever uses it sees to it that it stays.
      if (known !== undefined && known.references > 0) return known;
      if (known?.learned === true && (await this.#options.agreement!.reuse(known.identity))) {
        if (this.#byLabels.get(key) === known) return known;
        continue;
      }
      const agreed = await this.#agree(labels, known?.identity.id);
      this.learn(agreed!);
      const entry = this.#byLabels.get(key);
      if (entry !== undefined) return entry;
      // Endpoints here use the number for other labels, from a time before this cluster: they are moving off it.
      await new Promise<void>((resolve) => this.#options.clock.after(100, resolve));
    }
    throw new WeirError('IDENTITY_BUSY', 'their number is still in use for other labels', { object: key });
  }

  /** Asks for each label set once at a time. */
  #agree(labels: readonly Label[], preferred?: IdentityId): Promise<Identity> | undefined {
    const { agreement } = this.#options;
    const key = labelSetKey(labels);
    const asked = this.#agreeing.get(key);
    if (asked !== undefined || agreement === undefined) return asked;
    const asking = agreement.agree(labels, preferred).finally(() => this.#agreeing.delete(key));
    this.#agreeing.set(key, asking);
    return asking;
  }

  async #save(entry: Entry): Promise<void> {
    this.#unsaved.add(entry);
    await this.#file.write(this.#stored());
    this.#unsaved.delete(entry);
  }

  #insert(identity: Identity): Entry {
    const entry: Entry = { identity, since: this.#options.clock.now(), references: 0, learned: false };
    this.#byId.set(identity.id, entry);
    this.#byLabels.set(labelSetKey(identity.labels), entry);
    this.#options.onChange({ added: [identity], removed: [] });
    return entry;
  }

  #hold(entry: Entry): void {
    entry.references++;
    entry.cancelRemoval?.();
    delete entry.cancelRemoval;
  }

  /** Takes its labels from a number that others hold still: they get another. */
  #displace(entry: Entry): void {
    const key = labelSetKey(entry.identity.labels);
    if (this.#byLabels.get(key) === entry) this.#byLabels.delete(key);
  }

  #scheduleRemoval(entry: Entry): void {
    entry.cancelRemoval?.();
    entry.cancelRemoval = this.#options.clock.after(this.#options.graceMs ?? GRACE_MS, () => this.#remove(entry));
  }

  #remove(entry: Entry): void {
    this.#byId.delete(entry.identity.id);
    this.#displace(entry);
    this.#unsaved.delete(entry);
    entry.cancelRemoval?.();
    this.#options.onChange({ added: [], removed: [entry.identity] });
    // The file then remembers one number too many, which the next write or the next start puts right.
    this.#file.write(this.#stored()).catch(() => undefined);
  }

  #nextNumber(): IdentityId {
    const { first, last } = this.#options.scope;
    for (let tried = 0; tried <= last - first; tried++) {
      const id = identityId(this.#cursor);
      this.#cursor = this.#cursor === last ? first : this.#cursor + 1;
      if (!this.#byId.has(id) && !this.#reserved.has(id)) return id;
    }
    const unused = [...this.#byId.values()].find((entry) => entry.references === 0 && !entry.learned);
    if (unused !== undefined) {
      this.#remove(unused);
      return unused.identity.id;
    }
    throw new WeirError(
      'IDENTITY_EXHAUSTED',
      `all ${last - first + 1} identities of the ${this.#options.name} are taken`,
    );
  }

  #stored(): StoredIdentity[] {
    // Not what the cluster will tell again, nor labels under a number that they are about to leave.
    return [...this.#byId.values()]
      .filter((entry) => entry.references > 0 || !entry.learned)
      .filter((entry) => this.#byLabels.get(labelSetKey(entry.identity.labels)) === entry)
      .map(({ identity: { id, labels } }) => ({ id, labels: labels.map(formatLabel) }))
      .sort((a, b) => a.id - b.id);
  }

  #inScope(id: IdentityId): boolean {
    return id >= this.#options.scope.first && id <= this.#options.scope.last;
  }
}

/** An identity on disk: labels as text. */
interface StoredIdentity {
  readonly id: number;
  readonly labels: readonly string[];
}

function decodeStored(json: unknown): readonly StoredIdentity[] {
  if (!Array.isArray(json)) throw new Error('expected a list of identities');
  const numbers = new Set<number>();
  const sets = new Set<string>();
  return json.map((item: unknown) => {
    if (!isStored(item)) throw new Error(`not an identity: ${JSON.stringify(item)}`);
    const key = labelSetKey(canonicalLabels(item.labels.map((text) => parseLabel(text))));
    if (numbers.has(item.id) || sets.has(key)) throw new Error(`identity ${item.id} stands there twice`);
    numbers.add(item.id);
    sets.add(key);
    return item;
  });
}

function isStored(item: unknown): item is StoredIdentity {
  if (typeof item !== 'object' || item === null || !('id' in item) || !('labels' in item)) return false;
  const { id, labels } = item;
  return Number.isInteger(id) && Array.isArray(labels) && labels.every((label) => typeof label === 'string');
}
