import type { BackendId, Frontend } from '../../model/service.ts';
import { LB_MAGLEV_CHUNK } from '../../../bpf/gen/constants.ts';
import { decode, encode, lbMaglevKey, lbMember, lbSourceKey } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { encodeMember, encodeSourceRange } from './lb.ts';

export interface LbDetailHandles {
  readonly members: MapHandle;
  readonly sourceRanges: MapHandle;
  readonly maglev: MapHandle;
}

const YES = Uint8Array.of(1, 0, 0, 0);
const CHUNK_BYTES = LB_MAGLEV_CHUNK * 4;

/** What only some frontends have, by their number: members for affinity, prefixes of clients, Maglev's tables. */
export class LbDetails {
  readonly #maps: LbDetailHandles;
  /** What was written, by frontend: keys in hexadecimal. Of an earlier life nothing is known until {@link prune}. */
  readonly #members = new Map<number, ReadonlySet<string>>();
  readonly #ranges = new Map<number, ReadonlySet<string>>();
  readonly #chunks = new Map<number, number>();

  constructor(maps: LbDetailHandles) {
    this.#maps = maps;
  }

  /** Adds what is new, before the frontend says that it is there. */
  async open(frontend: Frontend, table: Uint32Array | undefined): Promise<void> {
    const { members, sourceRanges } = this.#maps;
    for (const key of membersOf(frontend)) members.update(Buffer.from(key, 'hex'), YES);
    for (const key of rangesOf(frontend)) sourceRanges.update(Buffer.from(key, 'hex'), YES);
    if (table !== undefined) await this.#writeTable(frontend.id, table);
  }

  /** Takes away what is old, after the frontend says that it is not. */
  async close(frontend: Frontend, table: Uint32Array | undefined): Promise<void> {
    const { id } = frontend;
    this.#replace(this.#maps.members, this.#members, id, membersOf(frontend));
    this.#replace(this.#maps.sourceRanges, this.#ranges, id, rangesOf(frontend));
    await this.#shrinkTable(id, table === undefined ? 0 : chunksOf(table.length));
  }

  async remove(id: number): Promise<void> {
    this.#replace(this.#maps.members, this.#members, id, new Set());
    this.#replace(this.#maps.sourceRanges, this.#ranges, id, new Set());
    await this.#shrinkTable(id, 0);
  }

  /** Removes everything that belongs to none of these, or that they have no longer. */
  async prune(frontends: readonly Frontend[]): Promise<void> {
    const { members, sourceRanges, maglev } = this.#maps;
    const own = new Map(frontends.map((frontend) => [frontend.id as number, frontend]));
    await deleteWhere(members, (key) => {
      const frontend = own.get(decode(lbMember, key).service);
      return frontend === undefined || !membersOf(frontend).has(key.toString('hex'));
    });
    await deleteWhere(sourceRanges, (key) => {
      const frontend = own.get(decode(lbSourceKey, key).service);
      return frontend === undefined || !rangesOf(frontend).has(key.toString('hex'));
    });
    await deleteWhere(maglev, (key) => {
      const { service, chunk } = decode(lbMaglevKey, key);
      return !own.has(service) || chunk >= (this.#chunks.get(service) ?? 0);
    });
  }

  #replace(map: MapHandle, known: Map<number, ReadonlySet<string>>, id: number, wanted: ReadonlySet<string>): void {
    for (const key of known.get(id) ?? []) if (!wanted.has(key)) map.delete(Buffer.from(key, 'hex'));
    if (wanted.size === 0) known.delete(id);
    else known.set(id, wanted);
  }

  async #writeTable(service: number, table: Uint32Array): Promise<void> {
    const chunks = chunksOf(table.length);
    const values = Buffer.alloc(chunks * CHUNK_BYTES);
    for (const [place, backend] of table.entries()) values.writeUInt32LE(backend, place * 4);
    await this.#maps.maglev.updateBatch(keysOfTable(service, 0, chunks), values);
  }

  async #shrinkTable(service: number, chunks: number): Promise<void> {
    const before = this.#chunks.get(service) ?? 0;
    if (before > chunks) await this.#maps.maglev.deleteBatch(keysOfTable(service, chunks, before));
    if (chunks === 0) this.#chunks.delete(service);
    else this.#chunks.set(service, chunks);
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Only frontends with affinity ask whether a backend is still theirs. */
function membersOf({ id, affinitySeconds, backends, externalBackends }: Frontend): ReadonlySet<string> {
  const members: readonly BackendId[] = affinitySeconds === 0 ? [] : [...backends, ...externalBackends];
  return new Set(members.map((backend) => hex(encodeMember(id, backend))));
}

/** Prefixes of the other family say nothing about a frontend's clients. */
function rangesOf({ id, sourceRanges = [], address }: Frontend): ReadonlySet<string> {
  const own = sourceRanges.filter((range) => range.address.family === address.family);
  return new Set(own.map((range) => hex(encodeSourceRange(id, range))));
}

function chunksOf(places: number): number {
  return Math.ceil(places / LB_MAGLEV_CHUNK);
}

/** Keys of a table's chunks from `first` to before `end`, laid end to end. */
function keysOfTable(service: number, first: number, end: number): Buffer {
  const chunks = Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i);
  return Buffer.concat(chunks.map((chunk) => encode(lbMaglevKey, { service, chunk })));
}

async function deleteWhere(map: MapHandle, dies: (key: Buffer) => boolean): Promise<void> {
  const dead: Buffer[] = [];
  for await (const { key } of map.entries()) if (dies(Buffer.from(key))) dead.push(Buffer.from(key));
  if (dead.length > 0) await map.deleteBatch(Buffer.concat(dead));
}
