/** Mounts: the BPF file system, where maps, programs and links outlive the agent, and names for namespaces. */
import { mkdirSync, statfsSync } from 'node:fs';
import type { KoffiFunc } from 'koffi';
import { ERRNO, isErrno } from './errno.ts';
import { check, libc } from './libc.ts';

const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
) as KoffiFunc<(source: string, target: string, type: string, flags: number, data: string) => number>;

const umount = libc.func('int umount2(const char *target, int flags)') as KoffiFunc<
  (target: string, flags: number) => number
>;

/** BPF_FS_MAGIC of linux/magic.h. */
const BPF_FS_MAGIC = 0xca_fe_4a_11;

/** nosuid, nodev, noexec: nothing on it is ever run. */
const FLAGS = 2 | 4 | 8;
const MS_BIND = 4096;
const MNT_DETACH = 2;

/** Whether `path` lies on a BPF file system. */
export function isBpffs(path: string): boolean {
  return statfsSync(path).type === BPF_FS_MAGIC;
}

/**
 * Mounts a BPF file system at `path`, private to root, unless one is there already.
 *
 * @returns whether it was mounted now
 * @throws KernelError SYSCALL_FAILED; ENODEV when the kernel has no BPF file system
 */
export function ensureBpffs(path: string): boolean {
  // The kernel makes /sys/fs/bpf itself, and sysfs lets nobody else make folders.
  mkdirSync(path, { recursive: true });
  if (isBpffs(path)) return false;
  try {
    check(`mount a BPF file system at ${path}`, mount('bpf', path, 'bpf', FLAGS, 'mode=0700'));
    return true;
  } catch (error) {
    // Another process of this node was quicker.
    if (isErrno(error, ERRNO.EBUSY) && isBpffs(path)) return false;
    throw error;
  }
}

/** Makes `target`, an existing file, another name of `source`. @throws KernelError SYSCALL_FAILED */
export function bindMount(source: string, target: string): void {
  check(`bind ${source} to ${target}`, mount(source, target, 'none', MS_BIND, ''));
}

/** Unmounts what is at `path`, once nobody uses it any more. @throws KernelError SYSCALL_FAILED */
export function unmount(path: string): void {
  check(`unmount ${path}`, umount(path, MNT_DETACH));
}
