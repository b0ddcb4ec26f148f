/** The C library through koffi. Nothing outside this folder calls native code. */
import koffi, { type KoffiFunc } from 'koffi';
import { KernelError } from './errno.ts';

export const libc = koffi.load('libc.so.6');

const closeFunction = libc.func('int close(int fd)') as KoffiFunc<(fd: number) => number>;
const openFunction = libc.func('int open(const char *path, int flags, uint32 mode)') as KoffiFunc<
  (path: string, flags: number, mode: number) => number
>;

/** Where the C library keeps this thread's error number. It is read in place: a call for it might change it on the way. */
const errnoPlace = new Int32Array(koffi.view((libc.func('void *__errno_location()') as KoffiFunc<() => bigint>)(), 4));

/** The error number of the last failed call; to be read before any other native call. */
export function errno(): number {
  return errnoPlace[0]!;
}

/**
 * Passes a result on unless it says failure.
 *
 * @throws KernelError SYSCALL_FAILED when `result` is negative
 */
export function check(operation: string, result: number): number {
  if (result < 0) throw new KernelError('SYSCALL_FAILED', operation, errno());
  return result;
}

const fcntl = libc.func('int fcntl(int fd, int command, int argument)') as KoffiFunc<
  (fd: number, command: number, argument: number) => number
>;
const F_DUPFD_CLOEXEC = 1030;

export const O_RDONLY = 0;
export const O_CLOEXEC = 0o2000000;

/** open(2), close-on-exec. @throws KernelError SYSCALL_FAILED */
export function openFile(path: string, flags: number = O_RDONLY): number {
  return check(`open ${path}`, openFunction(path, flags | O_CLOEXEC, 0));
}

/** Another descriptor of the same open file, close-on-exec. @throws KernelError SYSCALL_FAILED */
export function duplicate(fd: number): number {
  return check('duplicate a descriptor', fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/** Closes a descriptor. On Linux it is gone even when close(2) reports an error, so there is nothing to tell. */
export function closeFile(fd: number): void {
  closeFunction(fd);
}

/** {@link closeFile} on a worker thread: for the last descriptor of what the kernel takes its time to give up. */
export async function closeFileAsync(fd: number): Promise<void> {
  await callAsync(closeFunction, fd);
}

/** A native function as a promise of its result and error number, run on a worker thread of koffi. */
export function callAsync<A extends unknown[]>(
  fn: KoffiFunc<(...args: A) => number>,
  ...args: A
): Promise<{ readonly result: number; readonly errno: number }> {
  return new Promise((resolve, reject) => {
    fn.async(...args, (error: Error | null, result: number) => {
      // koffi carries the worker's errno over to this callback.
      if (error === null) resolve({ result, errno: result < 0 ? errno() : 0 });
      else reject(error);
    });
  });
}
