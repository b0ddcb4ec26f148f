/** Programs on the sockets below a cgroup v2, held by links that outlive the agent when pinned. */
import { mkdirSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { cgroupLinkInfo, programInfo } from './bpf-info.ts';
import { ATTACH_TYPE, linkCreate, linkDetach, linkUpdate, objectGet, objectPin } from './bpf-syscall.ts';
import { ERRNO, isErrno } from './errno.ts';
import { closeFile, closeFileAsync, openFile } from './libc.ts';

/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const CGROUP2_MAGIC = 0x63677270;

/** Calls on sockets that a program may look into, by the names that its section has. */
export const SOCKET_HOOKS = {
  connect4: ATTACH_TYPE.CGROUP_INET4_CONNECT,
  connect6: ATTACH_TYPE.CGROUP_INET6_CONNECT,
  sendmsg4: ATTACH_TYPE.CGROUP_UDP4_SENDMSG,
  sendmsg6: ATTACH_TYPE.CGROUP_UDP6_SENDMSG,
  recvmsg4: ATTACH_TYPE.CGROUP_UDP4_RECVMSG,
  recvmsg6: ATTACH_TYPE.CGROUP_UDP6_RECVMSG,
  getpeername4: ATTACH_TYPE.CGROUP_INET4_GETPEERNAME,
  getpeername6: ATTACH_TYPE.CGROUP_INET6_GETPEERNAME,
} as const;
export type SocketHook = keyof typeof SOCKET_HOOKS;

/** The folder where cgroup v2 is mounted, the topmost if there are several; undefined when it is not mounted. */
export function findCgroupRoot(): string | undefined {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2 /.test(line))
    .map((line) => line.split(' ')[4]!);
  return mounts.sort((a, b) => a.length - b.length)[0];
}

/** Whether `folder` is a cgroup v2. */
export function isCgroup2(folder: string): boolean {
  return statfs(folder) === CGROUP2_MAGIC;
}

function statfs(folder: string): number | undefined {
  try {
    return statfsSync(folder).type;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Where a program belongs, and where its link is remembered. */
export interface CgroupAttachment {
  /** Folder of the cgroup. */
  readonly cgroup: string;
  readonly hook: SocketHook;
  /** Absolute path on a BPF file system. */
  readonly pin: string;
}

/**
 * Brings `programFd` to the sockets of a cgroup: atomically through the pinned link when one stands there, else by a new
 * one. A pin of another cgroup, or of one that is gone, is replaced.
 *
 * @throws KernelError SYSCALL_FAILED
 */
export async function attachCgroup(
  programFd: number,
  { cgroup, hook, pin }: CgroupAttachment,
): Promise<'attached' | 'updated' | 'unchanged'> {
  const standing = openLink(pin);
  if (standing !== undefined) {
    try {
      const now = await cgroupLinkInfo(standing);
      if (now.cgroupId === cgroupId(cgroup) && now.attachType === SOCKET_HOOKS[hook]) {
        // Kernels differ in whether this is an error (EEXIST): ask first.
        if (now.programId === programInfo(programFd).id) return 'unchanged';
        await linkUpdate(standing, programFd);
        return 'updated';
      }
    } finally {
      await closeFileAsync(standing);
    }
    await detachCgroup(pin);
  }
  mkdirSync(path.dirname(pin), { recursive: true, mode: 0o700 });
  const folder = openFile(cgroup);
  try {
    const link = await linkCreate(programFd, folder, SOCKET_HOOKS[hook], `the sockets of ${cgroup}`);
    try {
      objectPin(link, pin);
    } finally {
      await closeFileAsync(link);
    }
    return 'attached';
  } finally {
    closeFile(folder);
  }
}

/** Takes the program of a pinned link off its cgroup and removes the pin. An absent one is fine. */
export async function detachCgroup(pin: string): Promise<void> {
  const link = openLink(pin);
  if (link === undefined) return;
  try {
    // A link whose cgroup is gone has nothing to detach.
    if ((await cgroupLinkInfo(link)).cgroupId !== 0n) await linkDetach(link);
    rmSync(pin, { force: true });
  } finally {
    await closeFileAsync(link);
  }
}

/** Whether a link is pinned at `pin` and its cgroup is there. */
export async function isOnCgroup(pin: string): Promise<boolean> {
  const link = openLink(pin);
  if (link === undefined) return false;
  try {
    return (await cgroupLinkInfo(link)).cgroupId !== 0n;
  } finally {
    closeFile(link);
  }
}

function openLink(pin: string): number | undefined {
  try {
    return objectGet(pin);
  } catch (error) {
    if (isErrno(error, ERRNO.ENOENT)) return undefined;
    throw error;
  }
}

/** What BPF links know a cgroup by: the number of its folder (kernfs). */
function cgroupId(folder: string): bigint {
  return statSync(folder, { bigint: true }).ino;
}
