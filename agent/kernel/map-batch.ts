/** The batch commands of bpf(2) over buffers of fixed address, in chunks short enough not to stall the event loop. */
import { BPF, type BpfCommand, bpfRaw } from './bpf-syscall.ts';
import { ERRNO } from './errno.ts';
import { errno } from './libc.ts';
import { keep, memory } from './memory.ts';

/** Entries a chunk: 4096 updates of an LPM trie, the slowest kind, take about 8 ms. */
const CHUNK = 4096;

/** Batch commands hold at most this many bytes of values, for maps of large or per-CPU values. */
const CHUNK_BYTES = 1 << 20;

/** What kernels answer for map types that have no batch commands. */
export const BATCH_UNSUPPORTED: ReadonlySet<number> = new Set([ERRNO.ENOTSUPP, ERRNO.EOPNOTSUPP]);

/** How far a batch command came, and the error that stopped it; errno 0 when nothing did. */
export interface BatchResult {
  readonly count: number;
  readonly errno: number;
}

interface MapShape {
  readonly fd: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
}

/** Buffers for the batches of one map. */
export class MapBatch {
  /** Entries that fit. */
  readonly capacity: number;
  readonly #map: MapShape;
  readonly #keys;
  readonly #values;
  readonly #cursor;
  readonly #attr = memory(56);

  constructor(map: MapShape, capacity?: number) {
    this.capacity =
      capacity ?? Math.max(1, Math.min(CHUNK, map.maxEntries, Math.floor(CHUNK_BYTES / Math.max(map.valueSize, 1))));
    this.#map = map;
    this.#keys = memory(this.capacity * map.keySize);
    this.#values = memory(this.capacity * map.valueSize);
    // Where a scan stands: a bucket number for hash maps, a key for the rest. Two halves, in and out, swap by copy.
    this.#cursor = memory(2 * cursorSize(map));
  }

  /** Writes `count` entries from the `start`th of `keys` and `values`. */
  update(keys: Uint8Array, values: Uint8Array, start: number, count: number): BatchResult {
    const { keySize, valueSize } = this.#map;
    this.#keys.bytes.set(keys.subarray(start * keySize, (start + count) * keySize));
    this.#values.bytes.set(values.subarray(start * valueSize, (start + count) * valueSize));
    return this.#run(BPF.MAP_UPDATE_BATCH, count, { values: true });
  }

  /** Deletes `count` entries from the `start`th of `keys`; stops with ENOENT at an absent one. */
  delete(keys: Uint8Array, start: number, count: number): BatchResult {
    const { keySize } = this.#map;
    this.#keys.bytes.set(keys.subarray(start * keySize, (start + count) * keySize));
    return this.#run(BPF.MAP_DELETE_BATCH, count, { values: false });
  }

  /** Reads on from where the last lookup ended; ENOENT marks the last chunk. */
  lookup(first: boolean): BatchResult {
    const size = cursorSize(this.#map);
    if (!first) this.#cursor.bytes.copyWithin(0, size, 2 * size);
    return this.#run(BPF.MAP_LOOKUP_BATCH, this.capacity, { values: true, cursor: first ? 'start' : 'on' });
  }

  /** The keys and values that the last lookup read, as copies. */
  taken(count: number): { count: number; keys: Buffer; values: Buffer } {
    return {
      count,
      keys: Buffer.from(this.#keys.bytes.subarray(0, count * this.#map.keySize)),
      values: Buffer.from(this.#values.bytes.subarray(0, count * this.#map.valueSize)),
    };
  }

  /** Twice the room, at the same place of a scan. */
  larger(): MapBatch {
    const twice = new MapBatch(this.#map, this.capacity * 2);
    const size = cursorSize(this.#map);
    // A failed lookup leaves the out half alone: the next lookup copies it back, so seed it with the in half.
    this.#cursor.bytes.copy(twice.#cursor.bytes, size, 0, size);
    return twice;
  }

  #run(command: BpfCommand, count: number, use: { values: boolean; cursor?: 'start' | 'on' }): BatchResult {
    const b = this.#attr.bytes.fill(0);
    if (use.cursor === 'on') b.writeBigUInt64LE(this.#cursor.address, 0);
    if (use.cursor !== undefined) b.writeBigUInt64LE(this.#cursor.address + BigInt(cursorSize(this.#map)), 8);
    b.writeBigUInt64LE(this.#keys.address, 16);
    if (use.values) b.writeBigUInt64LE(this.#values.address, 24);
    b.writeUInt32LE(count, 32);
    b.writeUInt32LE(this.#map.fd, 36);
    const result = bpfRaw(command, this.#attr.address, 56);
    const number = result < 0 ? errno() : 0;
    keep(this.#cursor, this.#keys, this.#values);
    return { count: b.readUInt32LE(32), errno: number };
  }
}

function cursorSize({ keySize }: MapShape): number {
  return Math.ceil(Math.max(keySize, 8) / 8) * 8;
}
