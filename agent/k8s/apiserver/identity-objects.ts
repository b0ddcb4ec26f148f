/**
 * Identities as CiliumIdentity objects: how the nodes of a cluster come to one number for a label set, and keep it.
 *
 * An API server makes one thing atomic: what happens to one object of one name. Numbers are names, so no two label sets get
 * one number; that no label set gets two needs more, because two nodes may try different names. A node that wants an
 * identity, having heard of none, does step 3 and then repeats:
 *
 *  1. List the objects of the label set (by a hash, a label of the object; the list is never older than the request).
 *  2. One of them is settled: that is the identity.
 *  3. There is none: create one, unsettled, under the first free number of a sequence that follows from the labels.
 *  4. There are several, none settled: delete all but one, the same one whoever does it.
 *  5. There is one, unsettled: settle it. Steps 4 and 5 apply to the very version that was listed, or fail.
 *
 * Whoever comes by does the next step, whoever began: nobody waits for a node that died. No set ever has two settled
 * objects: say a and b were settled after the lists A and B, A first. a stands in A, alone, so b was created after A. B shows b
 * alone, so a, which was there at A, was gone at B, and what is gone is not settled any more: settling wants the version
 * that was listed. So a was settled and collected before B, and never stood beside b.
 *
 * The operator collects an identity that no endpoint uses: it marks it, and deletes the version that it marked a good while
 * later. A node that uses a marked identity takes the mark away, which makes another version.
 */
import { createHash } from 'node:crypto';
import { WeirError } from '../../model/errors.ts';
import { IDENTITY_SCOPE, identityId, type Identity, type IdentityId } from '../../model/identity.ts';
import { canonicalLabels, labelSetKey, parseLabel, type Label } from '../../model/labels.ts';
import { UNSETTLED, UNUSED_SINCE } from '../cilium-identity.ts';
import { collectionPath, preferredApiVersion } from '../kinds.ts';
import { isRecord } from '../object-meta.ts';
import { isRefusal, PATCH, type ApiServer, type JsonObject } from './client.ts';

const LABELS_HASH = 'weir.io/labels-hash';
const NAMESPACE = 'io.kubernetes.pod.namespace';
const PATH = collectionPath('CiliumIdentity', preferredApiVersion('CiliumIdentity'));

/** More rounds than this are no race any more. */
const ROUNDS = 64;

/** An object of the label set, at the version that was listed. */
interface Candidate {
  readonly id: IdentityId;
  readonly uid: string;
  readonly version: string;
  readonly settled: boolean;
  readonly unused: boolean;
}

export interface IdentityObjectsOptions {
  readonly server: ApiServer;
  /** Numbers to give, inclusive. */
  readonly scope?: { readonly first: number; readonly last: number };
}

export class IdentityObjects {
  readonly #server: ApiServer;
  readonly #scope: { readonly first: number; readonly last: number };
  /** Identities that are marked, as far as the watch has told. */
  readonly #marked = new Set<IdentityId>();

  constructor({ server, scope = IDENTITY_SCOPE.cluster }: IdentityObjectsOptions) {
    this.#server = server;
    this.#scope = scope;
  }

  /** Takes in what the watch says of an identity: whether it is marked as unused. */
  observe(id: IdentityId, unused: boolean): void {
    if (unused) this.#marked.add(id);
    else this.#marked.delete(id);
  }

  /**
   * The identity of the labels, for the whole cluster.
   *
   * @param preferred the number to give them, if it is free and they have none
   * @throws WeirError IDENTITY_EXHAUSTED when no number is free, KUBERNETES_UNREACHABLE, KUBERNETES_REFUSED
   */
  async agree(labels: readonly Label[], preferred?: IdentityId): Promise<Identity> {
    const canonical = canonicalLabels(labels);
    const key = labelSetKey(canonical);
    const order = new Sequence(key, this.#scope, preferred);
    // Who asks has heard of none, so there most likely is none: one list is saved by not looking first.
    await this.#create(canonical, order);
    for (let round = 0; round < ROUNDS; round++) {
      const found = await this.#find(canonical);
      const settled = found.filter((candidate) => candidate.settled).sort((a, b) => a.id - b.id)[0];
      if (settled !== undefined) {
        // What a race left behind; its creator comes to the same identity.
        for (const other of found) if (!other.settled) await this.#delete(other);
        if (await this.#keep(settled)) return { id: settled.id, labels: canonical };
      } else if (found.length === 0) await this.#create(canonical, order);
      else {
        const [first, ...others] = found.sort((a, b) => order.rank(a.id) - order.rank(b.id));
        for (const other of others) await this.#delete(other);
        if (others.length === 0 && (await this.#settle(first!))) return { id: first!.id, labels: canonical };
      }
    }
    throw new WeirError('IDENTITY_EXHAUSTED', `no number in ${ROUNDS} rounds: others keep changing it`, {
      object: key,
    });
  }

  /** Whether the identity is there still; one that is marked as unused no longer is when this resolves. */
  async reuse({ id, labels }: Identity): Promise<boolean> {
    if (!this.#marked.has(id)) return true;
    const key = labelSetKey(labels);
    const object = await this.#get(id);
    const candidate = object === undefined ? undefined : candidateOf(object, key);
    return candidate?.settled === true && (await this.#keep(candidate));
  }

  /** Objects of exactly these labels. */
  async #find(canonical: readonly Label[]): Promise<Candidate[]> {
    const key = labelSetKey(canonical);
    const found: Candidate[] = [];
    let next: unknown;
    do {
      const page = await this.#server.request({
        method: 'GET',
        path: PATH,
        query: { labelSelector: `${LABELS_HASH}=${hashOf(key)}`, ...(typeof next === 'string' && { continue: next }) },
      });
      for (const item of Array.isArray(page['items']) ? (page['items'] as unknown[]) : []) {
        const candidate = isRecord(item) ? candidateOf(item, key) : undefined;
        if (candidate !== undefined) found.push(candidate);
      }
      next = isRecord(page['metadata']) ? page['metadata']['continue'] : undefined;
    } while (typeof next === 'string' && next !== '');
    return found;
  }

  /** Makes an unsettled object under the first number that is free, unless somebody makes one first. */
  async #create(labels: readonly Label[], order: Sequence): Promise<void> {
    for (const id of order) {
      try {
        await this.#server.request({ method: 'POST', path: PATH, body: objectOf(id, labels) });
        return;
      } catch (error) {
        if (!isRefusal(error, 409)) throw error;
      }
      const taken = await this.#get(id);
      // Gone again already, or of these labels: the next list tells.
      if (taken === undefined || candidateOf(taken, labelSetKey(labels)) !== undefined) return;
    }
    const { first, last } = this.#scope;
    throw new WeirError('IDENTITY_EXHAUSTED', `all ${last - first + 1} identities of the cluster are taken`);
  }

  /** @returns false when the object is not what it was any more */
  #settle(candidate: Candidate): Promise<boolean> {
    return this.#annotate(candidate, { [UNSETTLED]: null });
  }

  /** Takes the mark of the operator away. @returns false when the object is not what it was any more */
  async #keep(candidate: Candidate): Promise<boolean> {
    if (candidate.unused && !(await this.#annotate(candidate, { [UNUSED_SINCE]: null }))) return false;
    this.#marked.delete(candidate.id);
    return true;
  }

  async #annotate({ id, version }: Candidate, annotations: Readonly<Record<string, null>>): Promise<boolean> {
    try {
      const body = { metadata: { resourceVersion: version, annotations } };
      await this.#server.request({ method: 'PATCH', path: `${PATH}/${id}`, body, contentType: PATCH.merge });
      return true;
    } catch (error) {
      if (isRefusal(error, 409) || isRefusal(error, 404)) return false;
      throw error;
    }
  }

  async #delete({ id, uid, version }: Candidate): Promise<void> {
    try {
      const body = { preconditions: { uid, resourceVersion: version } };
      await this.#server.request({ method: 'DELETE', path: `${PATH}/${id}`, body });
    } catch (error) {
      if (!isRefusal(error, 409) && !isRefusal(error, 404)) throw error;
    }
  }

  async #get(id: IdentityId): Promise<JsonObject | undefined> {
    try {
      return await this.#server.request({ method: 'GET', path: `${PATH}/${id}` });
    } catch (error) {
      if (isRefusal(error, 404)) return undefined;
      throw error;
    }
  }
}

function objectOf(id: IdentityId, labels: readonly Label[]): JsonObject {
  const namespace = labels.find(({ source, key }) => source === 'k8s' && key === NAMESPACE)?.value;
  return {
    apiVersion: preferredApiVersion('CiliumIdentity'),
    kind: 'CiliumIdentity',
    metadata: {
      name: String(id),
      labels: {
        [LABELS_HASH]: hashOf(labelSetKey(labels)),
        ...(namespace !== undefined && { [NAMESPACE]: namespace }),
      },
      annotations: { [UNSETTLED]: 'true' },
    },
    'security-labels': Object.fromEntries(labels.map(({ source, key, value }) => [`${source}:${key}`, value])),
  };
}

/** Undefined when the object is of other labels, or on its way out. */
function candidateOf(object: JsonObject, key: string): Candidate | undefined {
  const { metadata, 'security-labels': labels } = object;
  if (!isRecord(metadata) || !isRecord(labels) || metadata['deletionTimestamp'] !== undefined) return undefined;
  const texts = Object.entries(labels).map(([name, value]) => (value === '' ? name : `${name}=${String(value)}`));
  if (labelSetKey(canonicalLabels(texts.map((text) => parseLabel(text)))) !== key) return undefined;
  const annotations = isRecord(metadata['annotations']) ? metadata['annotations'] : {};
  return {
    id: identityId(Number(metadata['name'])),
    uid: String(metadata['uid']),
    version: String(metadata['resourceVersion']),
    settled: annotations[UNSETTLED] === undefined,
    unused: annotations[UNUSED_SINCE] !== undefined,
  };
}

/** Of a label set; short enough for the value of a label. */
const hashOf = (key: string): string => createHash('sha256').update(key).digest('hex').slice(0, 40);

/** Numbers in an order that follows from the labels, each once; the preferred one before all. */
class Sequence implements Iterable<IdentityId> {
  readonly #first: number;
  readonly #count: number;
  readonly #start: number;
  readonly #stride: number;
  readonly #preferred: IdentityId | undefined;

  constructor(key: string, { first, last }: { first: number; last: number }, preferred: IdentityId | undefined) {
    const digest = createHash('sha256').update(key).digest();
    this.#first = first;
    this.#count = last - first + 1;
    this.#start = digest.readUInt32BE(0) % this.#count;
    let stride = (digest.readUInt32BE(4) % this.#count) | 1;
    while (greatestCommonDivisor(stride, this.#count) !== 1) stride += 2;
    this.#stride = stride;
    this.#preferred = preferred !== undefined && preferred >= first && preferred <= last ? preferred : undefined;
  }

  /** An order in which numbers of one label set are kept, the same for every node, whatever each of them prefers. */
  rank(id: IdentityId): number {
    return (id - this.#first - this.#start + this.#count) % this.#count;
  }

  *[Symbol.iterator](): Generator<IdentityId> {
    if (this.#preferred !== undefined) yield this.#preferred;
    for (let i = 0; i < this.#count; i++) {
      const id = identityId(this.#first + ((this.#start + i * this.#stride) % this.#count));
      if (id !== this.#preferred) yield id;
    }
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
