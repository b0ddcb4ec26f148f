import os from 'node:os';
import { type ErrorCode, type ErrorContext, WeirError } from '../model/errors.ts';

/** Error numbers that this room tells apart (asm-generic/errno.h); the same on every architecture Node runs on. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  ENXIO: 6,
  E2BIG: 7,
  EAGAIN: 11,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EINVAL: 22,
  ENOSPC: 28,
  ENOSYS: 38,
  ENOLINK: 67,
  EAFNOSUPPORT: 97,
  EOPNOTSUPP: 95,
  EADDRNOTAVAIL: 99,
  ENOBUFS: 105,
  /** Kernel-internal "not supported", which bpf(2) lets through to user space. */
  ENOTSUPP: 524,
} as const;

const NAMES = new Map<number, string>([[ERRNO.ENOTSUPP, 'ENOTSUPP']]);
for (const [name, number] of Object.entries(os.constants.errno)) {
  if (!NAMES.has(number)) NAMES.set(number, name);
}

/** `ENOENT` for 2; `errno 1234` for a number that has no name. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** A fault that the kernel reported with an error number. */
export class KernelError extends WeirError {
  override readonly name: string = 'KernelError';
  /** Positive error number. */
  readonly errno: number;

  /** @param operation what was attempted, such as `BPF_OBJ_GET /sys/fs/bpf/weir/weir_lxc` */
  constructor(code: ErrorCode, operation: string, errno: number, context: ErrorContext = {}) {
    super(code, `${operation}: ${errnoName(errno)}`, context);
    this.errno = errno;
  }
}

/** Whether `thrown` is a fault with one of these error numbers. */
export function isErrno(thrown: unknown, ...errnos: readonly number[]): thrown is KernelError {
  return thrown instanceof KernelError && errnos.includes(thrown.errno);
}
