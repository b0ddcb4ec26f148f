/** Kernel settings under /proc/sys/net, each network namespace having its own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { KernelError } from './errno.ts';
import { inNetns, type Netns } from './netns.ts';

/**
 * Path of a setting below /proc/sys/net, such as `ipv4/ip_forward` or `ipv6/conf/eth0/disable_ipv6`. Slashes, not dots:
 * interface names may contain dots.
 */
export type SysctlName = `ipv4/${string}` | `ipv6/${string}` | `core/${string}`;

/**
 * Writes a setting, unless it has that value already.
 *
 * @param netns whose setting; the process's own when absent
 * @returns whether it was changed
 * @throws KernelError SYSCALL_FAILED; ENOENT when the kernel has no such setting
 */
export function writeSysctl(name: SysctlName, value: string | number, netns?: Netns): boolean {
  const text = String(value);
  if (readSysctl(name, netns) === text) return false;
  access(name, 'write', netns, (file) => {
    writeFileSync(file, text, { flag: 'r+' });
    return true;
  });
  return true;
}

/** The value of a setting, without its line end. @throws KernelError SYSCALL_FAILED */
export function readSysctl(name: SysctlName, netns?: Netns): string {
  return access(name, 'read', netns, (file) => readFileSync(file, 'utf8').trim());
}

/** procfs looks up the calling thread's namespace when the file is opened. */
function access<T extends string | true>(
  name: string,
  verb: string,
  netns: Netns | undefined,
  fn: (file: string) => T,
): T {
  const attempt = (): T => fn(`/proc/sys/net/${name}`);
  try {
    return netns === undefined ? attempt() : inNetns(netns.fd, attempt);
  } catch (error) {
    const number = error instanceof Error && 'errno' in error ? error.errno : undefined;
    if (typeof number !== 'number' || error instanceof KernelError) throw error;
    throw new KernelError('SYSCALL_FAILED', `${verb} sysctl net/${name}`, Math.abs(number), { cause: error });
  }
}
