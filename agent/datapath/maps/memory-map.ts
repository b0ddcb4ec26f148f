/** A map in memory, for tests: the same interface, the same errors, and faults when told to. */
import { KernelError } from '../../kernel/errno.ts';
import type { MapEntry, MapHandle } from '../../kernel/bpf-map.ts';

const E2BIG = 7;

export class MemoryMap implements MapHandle {
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly held = new Map<string, Buffer>();
  /** Called before every change of an entry; throws to play a fault of the kernel. */
  beforeChange: (key: Uint8Array) => void = () => undefined;
  /** Called after every change of an entry. */
  afterChange: () => void = () => undefined;

  constructor(spec: { name: string; keySize: number; valueSize: number; maxEntries: number }) {
    this.name = spec.name;
    this.keySize = spec.keySize;
    this.valueSize = spec.valueSize;
    this.maxEntries = spec.maxEntries;
  }

  lookup(key: Uint8Array): Buffer | undefined {
    return this.held.get(hex(key));
  }

  update(key: Uint8Array, value: Uint8Array): boolean {
    this.beforeChange(key);
    if (!this.held.has(hex(key)) && this.held.size >= this.maxEntries) {
      throw new KernelError('BPF_MAP_FULL', `update BPF map ${this.name}`, E2BIG);
    }
    this.held.set(hex(key), Buffer.from(value));
    this.afterChange();
    return true;
  }

  delete(key: Uint8Array): boolean {
    this.beforeChange(key);
    const there = this.held.delete(hex(key));
    this.afterChange();
    return there;
  }

  async updateBatch(keys: Uint8Array, values: Uint8Array): Promise<void> {
    await Promise.resolve();
    for (let i = 0; i * this.keySize < keys.length; i++) {
      this.update(slot(keys, i, this.keySize), slot(values, i, this.valueSize));
    }
  }

  async deleteBatch(keys: Uint8Array): Promise<number> {
    await Promise.resolve();
    let deleted = 0;
    for (let i = 0; i * this.keySize < keys.length; i++) if (this.delete(slot(keys, i, this.keySize))) deleted++;
    return deleted;
  }

  async *entries(): AsyncGenerator<MapEntry, void, undefined> {
    await Promise.resolve();
    for (const [key, value] of [...this.held]) yield { key: Buffer.from(key, 'hex'), value };
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function slot(all: Uint8Array, index: number, size: number): Uint8Array {
  return all.subarray(index * size, (index + 1) * size);
}
