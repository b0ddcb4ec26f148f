/**
 * TCX: programs at a device's ingress and egress, held by links that outlive the agent when pinned (Linux 6.6).
 *
 * The kernel takes its routing lock for whatever is asked of such a link, and others hold that lock for tens of
 * milliseconds: all of it is done on worker threads.
 */
import { unlinkSync } from 'node:fs';
import { type LinkInfo, linkInfo, programInfo } from './bpf-info.ts';
import { ATTACH_TYPE, linkCreate, linkCreateSync, linkDetach, linkDetachSync, linkUpdate } from './bpf-syscall.ts';
import { objectGet, objectPin } from './bpf-syscall.ts';
import { ERRNO, isErrno } from './errno.ts';
import { closeFile, closeFileAsync } from './libc.ts';

/** As the device sees it: what comes in from it, what goes out to it. */
export type TcxHook = 'ingress' | 'egress';

const TYPES = { ingress: ATTACH_TYPE.TCX_INGRESS, egress: ATTACH_TYPE.TCX_EGRESS } as const;

/** A program attached to a device. Without a pin it ends with its descriptor. */
export class TcxLink implements Disposable {
  readonly fd: number;
  #open = true;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** Attaches to a device of the process's own network namespace, on a worker thread: the kernel waits 6 to 12 ms. */
  static async create(programFd: number, ifindex: number, hook: TcxHook): Promise<TcxLink> {
    return new TcxLink(await linkCreate(programFd, ifindex, TYPES[hook]));
  }

  /** As {@link create}, in place: for the namespace that `inNetns` has entered. */
  static createSync(programFd: number, ifindex: number, hook: TcxHook): TcxLink {
    return new TcxLink(linkCreateSync(programFd, ifindex, TYPES[hook]));
  }

  /** Undefined when nothing is pinned at `path`. */
  static openPinned(path: string): TcxLink | undefined {
    try {
      return new TcxLink(objectGet(path));
    } catch (error) {
      if (isErrno(error, ERRNO.ENOENT)) return undefined;
      throw error;
    }
  }

  info(): Promise<LinkInfo> {
    return linkInfo(this.fd);
  }

  /**
   * Replaces the program atomically: no packet passes in between.
   * @returns false when that program was there already
   * @throws KernelError SYSCALL_FAILED; ENOLINK when the device is gone
   */
  async update(programFd: number): Promise<boolean> {
    // Kernels differ in whether this is an error (EEXIST): ask first.
    if ((await this.info()).programId === programInfo(programFd).id) return false;
    await linkUpdate(this.fd, programFd);
    return true;
  }

  /** @throws KernelError SYSCALL_FAILED; EEXIST when something is pinned there */
  pin(path: string): void {
    objectPin(this.fd, path);
  }

  /** Takes the program off the device on a worker thread; the pin, if any, is left dangling. */
  async detach(): Promise<void> {
    await linkDetach(this.fd);
  }

  detachSync(): void {
    linkDetachSync(this.fd);
  }

  /** Gives up a link that is not pinned, or no longer: the program goes off its device. */
  async release(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await closeFileAsync(this.fd);
  }

  /** Closes the descriptor of a pinned link. The last one of another blocks for 6 to 12 ms: {@link release} those. */
  close(): void {
    if (this.#open) closeFile(this.fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Where a program belongs, and where its link is remembered. */
export interface TcxAttachment {
  readonly ifindex: number;
  readonly hook: TcxHook;
  /** Absolute path on a BPF file system whose folder exists. */
  readonly pin: string;
}

/** {@link TcxLink.create}, or {@link TcxLink.createSync}. */
export type CreateTcxLink = (programFd: number, ifindex: number, hook: TcxHook) => TcxLink | Promise<TcxLink>;

/**
 * Brings `programFd` to a device: atomically through the pinned link when one stands there, else by a new one. A pin
 * whose device is gone, or another, is replaced.
 *
 * @param create how to attach; in place for tests that have entered a namespace
 */
export async function attachTcx(
  programFd: number,
  { ifindex, hook, pin }: TcxAttachment,
  create: CreateTcxLink = (...args) => TcxLink.create(...args),
): Promise<'attached' | 'updated' | 'unchanged'> {
  using standing = TcxLink.openPinned(pin);
  if (standing !== undefined) {
    const now = await standing.info();
    if (now.ifindex === ifindex && now.attachType === TYPES[hook]) {
      return (await standing.update(programFd)) ? 'updated' : 'unchanged';
    }
    if (now.ifindex !== 0) await standing.detach();
    unlinkSync(pin);
    await standing.release();
  }
  const link = await create(programFd, ifindex, hook);
  try {
    link.pin(pin);
    link.close();
  } catch (error) {
    await link.release();
    throw error;
  }
  return 'attached';
}

/** Takes the program of a pinned link off its device and removes the pin. @returns false when nothing is pinned there */
export async function detachTcx(pin: string): Promise<boolean> {
  const link = TcxLink.openPinned(pin);
  if (link === undefined) return false;
  try {
    // Somebody else may hold it too: it is not enough to close it. One whose device is gone has nothing to detach.
    if ((await link.info()).ifindex !== 0) await link.detach();
    unlinkSync(pin);
    return true;
  } finally {
    await link.release();
  }
}

/** Whether the link pinned at `pin` holds a program on `ifindex`, and which. */
export async function tcxProgram(pin: string, ifindex: number): Promise<number | undefined> {
  using link = TcxLink.openPinned(pin);
  const now = await link?.info();
  return now?.ifindex === ifindex && now.programId !== 0 ? now.programId : undefined;
}
