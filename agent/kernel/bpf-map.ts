/**
 * BPF maps as bytes. Keys and values are copied into memory of fixed address and handed to bpf(2): no marshalling, about
 * 2 µs an operation, 1 µs in a batch. What the bytes mean is `agent/datapath`'s business.
 */
import { renameSync, rmSync } from 'node:fs';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { WeirError } from '../model/errors.ts';
import { mapInfo, type MapInfo } from './bpf-info.ts';
import { BPF, type BpfCommand, bpfRaw, mapCreate, mapFreeze, type MapSpec, MAP_TYPE } from './bpf-syscall.ts';
import { objectGet, objectPin } from './bpf-syscall.ts';
import { ERRNO, isErrno, KernelError } from './errno.ts';
import { closeFile, errno } from './libc.ts';
import { keep, memory } from './memory.ts';
import { BATCH_UNSUPPORTED, MapBatch } from './map-batch.ts';

/** One entry of a map, as copies that the reader may keep. */
export interface MapEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Update flags (linux/bpf.h). */
export const UPDATE = { ANY: 0, NOEXIST: 1, EXIST: 2 } as const;
export type UpdateFlag = (typeof UPDATE)[keyof typeof UPDATE];

/**
 * A map as the rooms above use it. {@link BpfMap} is one in the kernel; tests may give one of their own.
 *
 * Batches are keys, and values, laid end to end. They run in chunks and yield to the event loop in between, so other
 * work may see a batch half done.
 */
export interface MapHandle {
  readonly name: string;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes of one value as user space sees it: for per-CPU maps, those of all CPUs. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** The value, as a copy; undefined when the key is absent. */
  lookup(key: Uint8Array): Buffer | undefined;
  /**
   * Writes an entry.
   * @returns false when `flag` forbade it: NOEXIST and the key is there, or EXIST and it is not
   * @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED
   */
  update(key: Uint8Array, value: Uint8Array, flag?: UpdateFlag): boolean;
  /** @returns false when the key was absent */
  delete(key: Uint8Array): boolean;
  /** Writes `keys.length / keySize` entries. @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED */
  updateBatch(keys: Uint8Array, values: Uint8Array): Promise<void>;
  /** Deletes entries; absent keys are fine. @returns how many were there */
  deleteBatch(keys: Uint8Array): Promise<number>;
  /** Every entry, unordered. One that is written or deleted meanwhile may or may not be seen, or be seen twice. */
  entries(): AsyncGenerator<MapEntry, void, undefined>;
}

/** Offsets in the union of the single-element commands. */
const ATTR = { fd: 0, key: 8, value: 16, flags: 24, size: 32, deleteSize: 16 } as const;

/**
 * Errors of a scan after which what was read is good, and the scan goes on: EINTR, of kernels before 6.14, when an entry vanished
 * while being read; EAGAIN, seen once in a great many scans under load on 6.18, which hash maps have no reason to answer.
 */
const DISTURBED = new Set<number>([ERRNO.EINTR, ERRNO.EAGAIN]);
const MOST_DISTURBANCES = 1000;

const PER_CPU = new Set<number>([MAP_TYPE.PERCPU_HASH, MAP_TYPE.PERCPU_ARRAY, MAP_TYPE.LRU_PERCPU_HASH]);

/** A map in the kernel, held by a descriptor. */
export class BpfMap implements MapHandle, Disposable {
  readonly fd: number;
  readonly name: string;
  readonly info: MapInfo;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly #key;
  readonly #value;
  readonly #attr = memory(ATTR.size);
  readonly #deleteAttr = memory(ATTR.deleteSize);
  #batch: MapBatch | undefined;
  #open = true;

  /** Takes over `fd`. @param name for messages; the kernel's own keeps 15 bytes only */
  constructor(fd: number, name?: string) {
    this.fd = fd;
    this.info = mapInfo(fd);
    this.name = name ?? this.info.name;
    this.keySize = this.info.keySize;
    const { type, valueSize } = this.info;
    // A per-CPU value is one slot of 8-byte multiples per possible CPU.
    this.valueSize = PER_CPU.has(type) ? Math.ceil(valueSize / 8) * 8 * possibleCpus() : valueSize;
    this.maxEntries = this.info.maxEntries;
    this.#key = memory(Math.max(this.keySize, 8));
    this.#value = memory(Math.max(this.valueSize, 8));
    for (const attr of [this.#attr, this.#deleteAttr]) {
      attr.bytes.writeUInt32LE(fd, ATTR.fd);
      attr.bytes.writeBigUInt64LE(this.#key.address, ATTR.key);
    }
    this.#attr.bytes.writeBigUInt64LE(this.#value.address, ATTR.value);
  }

  /** @throws KernelError BPF_MAP_FAILED */
  static create(spec: MapSpec): BpfMap {
    return new BpfMap(mapCreate(spec), spec.name);
  }

  /** Opens a pinned map; undefined when nothing is pinned at `path`. @throws KernelError SYSCALL_FAILED */
  static openPinned(path: string, name?: string): BpfMap | undefined {
    try {
      return new BpfMap(objectGet(path), name ?? path.slice(path.lastIndexOf('/') + 1));
    } catch (error) {
      if (isErrno(error, ERRNO.ENOENT)) return undefined;
      throw error;
    }
  }

  /** @throws KernelError SYSCALL_FAILED; EEXIST when something is pinned there */
  pin(path: string): void {
    objectPin(this.fd, path);
  }

  /** Takes the place of what is pinned there, in one step. @throws KernelError SYSCALL_FAILED */
  replacePin(path: string): void {
    const next = `${path}_next`;
    rmSync(next, { force: true });
    objectPin(this.fd, next);
    renameSync(next, path);
  }

  /** User space can no longer write it. */
  freeze(): void {
    mapFreeze(this.fd, this.name);
  }

  lookup(key: Uint8Array): Buffer | undefined {
    this.#setKey(key);
    return this.#run(BPF.MAP_LOOKUP_ELEM, 'look up in')
      ? Buffer.from(this.#value.bytes.subarray(0, this.valueSize))
      : undefined;
  }

  /** Looks up and deletes in one step; hash maps only. */
  take(key: Uint8Array): Buffer | undefined {
    this.#setKey(key);
    return this.#run(BPF.MAP_LOOKUP_AND_DELETE_ELEM, 'take from')
      ? Buffer.from(this.#value.bytes.subarray(0, this.valueSize))
      : undefined;
  }

  update(key: Uint8Array, value: Uint8Array, flag: UpdateFlag = UPDATE.ANY): boolean {
    this.#setKey(key);
    if (value.length !== this.valueSize) throw this.#sizeError('value', value.length, this.valueSize);
    this.#value.bytes.set(value);
    this.#attr.bytes.writeUInt32LE(flag, ATTR.flags);
    try {
      if (bpfRaw(BPF.MAP_UPDATE_ELEM, this.#attr.address, ATTR.size) >= 0) return true;
      const number = errno();
      if (flag === UPDATE.NOEXIST && number === ERRNO.EEXIST) return false;
      if (flag === UPDATE.EXIST && number === ERRNO.ENOENT) return false;
      throw mapError(this.name, 'update', number, this.maxEntries);
    } finally {
      this.#attr.bytes.writeUInt32LE(0, ATTR.flags);
    }
  }

  delete(key: Uint8Array): boolean {
    this.#setKey(key);
    if (bpfRaw(BPF.MAP_DELETE_ELEM, this.#deleteAttr.address, ATTR.deleteSize) >= 0) return true;
    return this.#absent('delete from');
  }

  async updateBatch(keys: Uint8Array, values: Uint8Array): Promise<void> {
    const count = this.#count(keys);
    if (values.length !== count * this.valueSize)
      throw this.#sizeError('values', values.length, count * this.valueSize);
    for (let at = 0; at < count;) {
      if (at > 0) await setImmediate();
      const chunk = Math.min(count - at, this.#batches().capacity);
      const done = this.#batches().update(keys, values, at, chunk);
      if (done.errno === 0) at += chunk;
      else if (!BATCH_UNSUPPORTED.has(done.errno)) throw mapError(this.name, 'update', done.errno, this.maxEntries);
      else at = this.#updateSingly(keys, values, at, chunk);
    }
  }

  #updateSingly(keys: Uint8Array, values: Uint8Array, start: number, chunk: number): number {
    for (let i = start; i < start + chunk; i++) {
      this.update(slot(keys, i, this.keySize), slot(values, i, this.valueSize));
    }
    return start + chunk;
  }

  async deleteBatch(keys: Uint8Array): Promise<number> {
    const count = this.#count(keys);
    let deleted = 0;
    for (let at = 0, turn = 0; at < count;) {
      if (at - turn >= this.#batches().capacity) {
        turn = at;
        await setImmediate();
      }
      const done = this.#batches().delete(keys, at, Math.min(count - at, this.#batches().capacity));
      if (done.errno !== 0 && BATCH_UNSUPPORTED.has(done.errno)) {
        if (this.delete(slot(keys, at, this.keySize))) deleted++;
        at++;
      } else {
        deleted += done.count;
        at += done.count;
        // The kernel stops at a key that is absent: step over it.
        if (done.errno === ERRNO.ENOENT) at++;
        else if (done.errno !== 0) throw mapError(this.name, 'delete from', done.errno, this.maxEntries);
      }
    }
    return deleted;
  }

  async *entries(): AsyncGenerator<MapEntry, void, undefined> {
    for await (const chunk of this.chunks()) {
      for (let i = 0; i < chunk.count; i++) {
        yield { key: slot(chunk.keys, i, this.keySize), value: slot(chunk.values, i, this.valueSize) };
      }
    }
  }

  /** As {@link entries}, a chunk at a time: keys and values end to end, owned by the reader. */
  async *chunks(): AsyncGenerator<{ count: number; keys: Buffer; values: Buffer }, void, undefined> {
    let batch = new MapBatch(this);
    let disturbances = 0;
    for (let started = false; ;) {
      let got = batch.lookup(!started);
      // One bucket of the hash table holds more than the buffers do.
      while (got.errno === ERRNO.ENOSPC) got = (batch = batch.larger()).lookup(!started);
      if (!started && BATCH_UNSUPPORTED.has(got.errno)) {
        yield* this.#chunksSingly();
        return;
      }
      const disturbed = DISTURBED.has(got.errno) && ++disturbances < MOST_DISTURBANCES;
      const good = got.errno === 0 || got.errno === ERRNO.ENOENT || disturbed;
      if (!good) throw mapError(this.name, 'scan', got.errno, this.maxEntries);
      if (got.count > 0) {
        started = true;
        yield batch.taken(got.count);
      }
      if (got.errno === ERRNO.ENOENT) return;
      await setImmediate();
    }
  }

  /** For map types without batch commands, such as arrays of maps. */
  async *#chunksSingly(): AsyncGenerator<{ count: number; keys: Buffer; values: Buffer }, void, undefined> {
    let turn = 0;
    for (let key = this.nextKey(); key !== undefined; key = this.nextKey(key)) {
      const values = this.lookup(key);
      if (values !== undefined) yield { count: 1, keys: key, values };
      if (++turn % this.#batches().capacity === 0) await setImmediate();
    }
  }

  /** The key after `key`, or the first; undefined at the end. A key that has vanished starts over from the first. */
  nextKey(key?: Uint8Array): Buffer | undefined {
    if (key !== undefined) this.#setKey(key);
    const { bytes } = this.#attr;
    // The value's memory may be too small for a key: give the next key memory of its own.
    const next = memory(Math.max(this.keySize, 8));
    bytes.writeBigUInt64LE(next.address, ATTR.value);
    if (key === undefined) bytes.writeBigUInt64LE(0n, ATTR.key);
    try {
      return this.#run(BPF.MAP_GET_NEXT_KEY, 'scan') ? next.bytes.subarray(0, this.keySize) : undefined;
    } finally {
      keep(next);
      bytes.writeBigUInt64LE(this.#value.address, ATTR.value);
      bytes.writeBigUInt64LE(this.#key.address, ATTR.key);
    }
  }

  /** Closes the descriptor; the kernel keeps the map while it is pinned or in use. */
  close(): void {
    if (this.#open) closeFile(this.fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #batches(): MapBatch {
    return (this.#batch ??= new MapBatch(this));
  }

  #setKey(key: Uint8Array): void {
    if (key.length !== this.keySize) throw this.#sizeError('key', key.length, this.keySize);
    this.#key.bytes.set(key);
  }

  #run(command: BpfCommand, verb: string): boolean {
    return bpfRaw(command, this.#attr.address, ATTR.size) >= 0 || this.#absent(verb);
  }

  /** False when the last failure was an absent key; throws for any other. */
  #absent(verb: string): false {
    const number = errno();
    if (number === ERRNO.ENOENT) return false;
    throw mapError(this.name, verb, number, this.maxEntries);
  }

  #count(keys: Uint8Array): number {
    const count = keys.length / this.keySize;
    if (!Number.isInteger(count)) throw this.#sizeError('keys', keys.length, Math.ceil(count) * this.keySize);
    return count;
  }

  #sizeError(what: string, got: number, want: number): WeirError {
    return new WeirError('INTERNAL', `BPF map ${this.name}: ${what} of ${got} bytes where the map wants ${want}`);
  }
}

function slot(all: Uint8Array, index: number, size: number): Buffer {
  return Buffer.from(all.buffer, all.byteOffset + index * size, size);
}

function mapError(name: string, verb: string, number: number, maxEntries: number): KernelError {
  // Hash maps say E2BIG and LPM tries ENOSPC when every entry is taken.
  const full = number === ERRNO.E2BIG || number === ERRNO.ENOSPC;
  return new KernelError(full ? 'BPF_MAP_FULL' : 'BPF_MAP_FAILED', `${verb} BPF map ${name}`, number, {
    object: `BPF map ${name}`,
    ...(full ? { remedy: `raise its size of ${maxEntries} entries, or reduce what it holds` } : {}),
  });
}

let cpus: number | undefined;

/** How many CPUs the kernel lays out per-CPU values for: the last number of a list such as `0-3`. */
function possibleCpus(): number {
  cpus ??= Number(/(\d+)\s*$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'utf8'))![1]) + 1;
  return cpus;
}
