/** Pages of BPF maps that can be mapped: ring buffers, and arrays with BPF_F_MMAPABLE. */
import koffi, { type KoffiFunc } from 'koffi';
import { KernelError } from './errno.ts';
import { errno, libc } from './libc.ts';

/** The result as a number: MAP_FAILED is -1, which koffi would read as a pointer. */
const mmap = libc.func(
  'int64 mmap(void *address, size_t length, int protection, int flags, int fd, long offset)',
) as KoffiFunc<
  (address: null, length: number, protection: number, flags: number, fd: number, offset: number) => number | bigint
>;
const munmap = libc.func('int munmap(uint64 address, size_t length)') as KoffiFunc<
  (address: bigint, length: number) => number
>;

export const PROTECTION = { read: 1, write: 2 } as const;
const MAP_SHARED = 1;

/** Pages of a map in this process. Its views must not be touched once it is unmapped. */
export class Mapping {
  readonly #address: bigint;
  readonly #length: number;

  /**
   * @param length bytes; @param protection of {@link PROTECTION}
   * @throws KernelError SYSCALL_FAILED
   */
  constructor(fd: number, length: number, protection: number, offset = 0) {
    const address = BigInt(mmap(null, length, protection, MAP_SHARED, fd, offset));
    if (address === -1n) throw new KernelError('SYSCALL_FAILED', 'map a BPF map into memory', errno());
    this.#address = address;
    this.#length = length;
  }

  view(): ArrayBuffer {
    return koffi.view(this.#address, this.#length);
  }

  unmap(): void {
    munmap(this.#address, this.#length);
  }
}
