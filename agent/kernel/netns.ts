/** Network namespaces: entering one for the length of a call, and telling one from another. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import type { KoffiFunc } from 'koffi';
import { WeirError } from '../model/errors.ts';
import { ERRNO, isErrno, KernelError } from './errno.ts';
import { check, closeFile, libc, openFile } from './libc.ts';
import { bindMount, unmount } from './mount.ts';

const CLONE_NEWNET = 0x40000000;
/** ioctl of nsfs that answers with the CLONE_ flag of a namespace (linux/nsfs.h). */
const NS_GET_NSTYPE = 0xb703;

const setns = libc.func('int setns(int fd, int type)') as KoffiFunc<(fd: number, type: number) => number>;
const unshare = libc.func('int unshare(int flags)') as KoffiFunc<(flags: number) => number>;
const ioctl = libc.func('int ioctl(int fd, ulong request, long argument)') as KoffiFunc<
  (fd: number, request: number, argument: number) => number
>;

/** The namespace that this thread belongs to, to come back to. */
let home: number | undefined;

/** An open network namespace. */
export class Netns implements Disposable {
  readonly fd: number;
  readonly path: string;
  /** Identifies the namespace while it lives; another may get the number afterwards. */
  readonly inode: number;
  #open = true;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
    this.inode = statSync(`/proc/self/fd/${fd}`).ino;
  }

  /**
   * Opens the namespace at `path`, such as `/run/netns/pod1` or `/proc/4711/ns/net`.
   *
   * @throws WeirError NETNS_NOT_FOUND when there is none, or what is there is no network namespace
   */
  static open(path: string): Netns {
    let fd;
    try {
      fd = openFile(path);
    } catch (cause) {
      if (!(cause instanceof KernelError)) throw cause;
      const gone = isErrno(cause, ERRNO.ENOENT, ERRNO.ESRCH, ERRNO.ENOTDIR);
      if (!gone) throw cause;
      throw new WeirError('NETNS_NOT_FOUND', `there is no network namespace ${path}`, { object: path, cause });
    }
    if (ioctl(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET) return new Netns(fd, path);
    closeFile(fd);
    throw new WeirError('NETNS_NOT_FOUND', `${path} is not a network namespace`, { object: path });
  }

  /**
   * A new namespace without a name: it lasts as long as somebody holds its descriptor, at most until this process ends.
   *
   * @throws KernelError SYSCALL_FAILED
   */
  static create(): Netns {
    return inNewNetns(() => {
      const fd = openFile('/proc/thread-self/ns/net');
      return new Netns(fd, `/proc/${process.pid}/fd/${fd}`);
    });
  }

  /** The namespace this thread is in. */
  static current(): Netns {
    return Netns.open('/proc/thread-self/ns/net');
  }

  /** {@link inNetns} of this namespace. */
  run<T>(fn: () => T): T {
    return inNetns(this.fd, fn);
  }

  close(): void {
    if (this.#open) closeFile(this.fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Runs `fn` inside a network namespace, in one turn of the event loop. Sockets opened by it stay there. Worker threads
 * (`callAsync`, most of `node:fs/promises` and `node:net`) remain outside.
 *
 * @throws KernelError SYSCALL_FAILED when the namespace cannot be entered; aborts the process when the way back fails,
 *   for then every later call would act on the wrong network
 */
export function inNetns<T>(fd: number, fn: () => T): T {
  home ??= openFile('/proc/thread-self/ns/net');
  check('enter a network namespace', setns(fd, CLONE_NEWNET));
  try {
    const result = fn();
    if (result instanceof Promise) throw new WeirError('INTERNAL', 'what runs in a network namespace must not wait');
    return result;
  } finally {
    if (setns(home, CLONE_NEWNET) !== 0) process.abort();
  }
}

/** Runs `fn` inside a network namespace that ends with it unless `fn` holds it, in one turn of the event loop. */
function inNewNetns<T>(fn: () => T): T {
  home ??= openFile('/proc/thread-self/ns/net');
  check('create a network namespace', unshare(CLONE_NEWNET));
  try {
    return fn();
  } finally {
    if (setns(home, CLONE_NEWNET) !== 0) process.abort();
  }
}

/** Where `ip netns` keeps its names. */
const NAMED = '/run/netns';

/**
 * Makes a network namespace that lasts until {@link deleteNetns}.
 *
 * @returns its path, `/run/netns/<name>`
 * @throws KernelError SYSCALL_FAILED
 */
export function createNetns(name: string): string {
  mkdirSync(NAMED, { recursive: true });
  const file = path.join(NAMED, name);
  closeSync(openSync(file, 'wx', 0o444));
  try {
    inNewNetns(() => bindMount('/proc/thread-self/ns/net', file));
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  }
  return file;
}

/** Takes away the name; the namespace ends with its last process, socket and descriptor. An absent one is fine. */
export function deleteNetns(name: string): void {
  const file = path.join(NAMED, name);
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${file} `)) unmount(file);
  rmSync(file, { force: true });
}
