/** What of the kernel Weir needs, asked of the kernel itself: version numbers lie on distribution kernels. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { errorText, WeirError } from '../model/errors.ts';
import { ATTACH_TYPE, BPF, bpf, bpfAttr, linkCreateSync, mapCreate, MAP_TYPE, type MapType } from './bpf-syscall.ts';
import { ERRNO, isErrno } from './errno.ts';
import { libbpf } from './libbpf.ts';
import { closeFile } from './libc.ts';
import { cString, keep, memory } from './memory.ts';

/** BPF_PROG_TYPE_SCHED_CLS: the type of TC and TCX programs. */
const SCHED_CLS = 3;

/** Helpers that the programs call, by number (linux/bpf.h). */
const HELPER = { sk_assign: 124, ringbuf_reserve: 131, redirect_neigh: 152, redirect_peer: 155 } as const;

/** Asks the kernel; a fake one stands in for tests. Each throws only when no answer could be had. */
export interface KernelProbe {
  bpf(): boolean;
  mapType(type: MapType): boolean;
  helper(number: number): boolean;
  tcx(): boolean;
  fileSystem(name: string): boolean;
}

/** A feature, whether the kernel has it, and what to say if not. */
export interface Feature {
  readonly name: string;
  readonly available: boolean;
  /** What it is for, and since when kernels have it. */
  readonly purpose: string;
  /** Why the probe had no answer; the feature counts as missing then. */
  readonly error?: string;
}

interface Wanted {
  readonly name: string;
  readonly purpose: string;
  readonly ask: (kernel: KernelProbe) => boolean;
}

const WANTED: readonly Wanted[] = [
  { name: 'bpf(2)', purpose: 'all enforcement (CONFIG_BPF_SYSCALL, CAP_BPF)', ask: (k) => k.bpf() },
  { name: 'bpffs', purpose: 'programs that outlive the agent (CONFIG_BPF_SYSCALL)', ask: (k) => k.fileSystem('bpf') },
  { name: 'TCX links', purpose: 'programs on pod interfaces (Linux 6.6)', ask: (k) => k.tcx() },
  { name: 'LPM trie maps', purpose: 'policy and ipcache (Linux 4.11)', ask: (k) => k.mapType(MAP_TYPE.LPM_TRIE) },
  { name: 'LRU hash maps', purpose: 'connection tracking (Linux 4.10)', ask: (k) => k.mapType(MAP_TYPE.LRU_HASH) },
  { name: 'ring buffer maps', purpose: 'drop and flow events (Linux 5.8)', ask: (k) => k.mapType(MAP_TYPE.RINGBUF) },
  { name: 'bpf_redirect_peer', purpose: 'delivery to pods (Linux 5.10)', ask: (k) => k.helper(HELPER.redirect_peer) },
  {
    name: 'bpf_redirect_neigh',
    purpose: 'delivery to the network (Linux 5.10)',
    ask: (k) => k.helper(HELPER.redirect_neigh),
  },
  { name: 'bpf_sk_assign', purpose: 'L7 and DNS proxies (Linux 5.7)', ask: (k) => k.helper(HELPER.sk_assign) },
];

/** Probes everything, in about a millisecond each. @param kernel the running one when absent */
export function probeFeatures(kernel: KernelProbe = runningKernel): Feature[] {
  return WANTED.map(({ name, purpose, ask }) => {
    try {
      return { name, purpose, available: ask(kernel) };
    } catch (error) {
      return { name, purpose, available: false, error: errorText(error) };
    }
  });
}

/** @throws WeirError KERNEL_UNSUPPORTED that names every feature which is missing */
export function requireFeatures(features: readonly Feature[]): void {
  const missing = features.filter(({ available }) => !available);
  if (missing.length === 0) return;
  const list = missing.map(
    ({ name, purpose, error }) => `${name}, for ${purpose}${error === undefined ? '' : `: ${error}`}`,
  );
  throw new WeirError('KERNEL_UNSUPPORTED', `Linux ${os.release()} lacks ${list.join('; ')}`, {
    object: 'kernel',
    remedy: 'run Linux 6.8 or later with the named options, as root',
  });
}

/** The kernel this process runs on. */
export const runningKernel: KernelProbe = {
  bpf: () => mapTypeExists(MAP_TYPE.ARRAY),
  mapType: mapTypeExists,
  helper: (number) => answer(libbpf().probeHelper(SCHED_CLS, number), 'probe a BPF helper'),
  tcx: tcxExists,
  fileSystem: (name) => new RegExp(`^nodev\\t${name}$`, 'm').test(readFileSync('/proc/filesystems', 'utf8')),
};

/** libbpf's probes: 1 yes, 0 no, negative error number. */
function answer(result: number, what: string): boolean {
  if (result < 0) throw new WeirError('KERNEL_UNSUPPORTED', `cannot ${what}: ${os.release()} answers ${result}`);
  return result === 1;
}

function mapTypeExists(type: MapType): boolean {
  const shapes: Partial<Record<MapType, { keySize: number; valueSize: number; flags: number; maxEntries: number }>> = {
    [MAP_TYPE.LPM_TRIE]: { keySize: 8, valueSize: 4, flags: 1, maxEntries: 1 },
    [MAP_TYPE.RINGBUF]: { keySize: 0, valueSize: 0, flags: 0, maxEntries: 1 << 16 },
  };
  const shape = shapes[type] ?? { keySize: 4, valueSize: 4, flags: 0, maxEntries: 1 };
  try {
    closeFile(mapCreate({ type, name: 'weir_probe', ...shape }));
    return true;
  } catch (error) {
    // The kernel does not know the type.
    if (isErrno(error, ERRNO.EINVAL, ERRNO.ENOSYS)) return false;
    throw error;
  }
}

/** `r0 = 0; exit` */
const TRIVIAL = Buffer.from([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);

/** With TCX, attaching to a device that cannot exist fails for want of the device; without, for the unknown type. */
function tcxExists(): boolean {
  const program = loadTrivial();
  try {
    closeFile(linkCreateSync(program, 0x7fffffff, ATTACH_TYPE.TCX_INGRESS));
    return true;
  } catch (error) {
    if (isErrno(error, ERRNO.ENODEV)) return true;
    if (isErrno(error, ERRNO.EINVAL)) return false;
    throw error;
  } finally {
    closeFile(program);
  }
}

const LOAD_ATTEMPTS = 5;

function loadTrivial(): number {
  const code = memory(TRIVIAL.length);
  code.bytes.set(TRIVIAL);
  const license = cString('Apache-2.0');
  const b = bpfAttr();
  b.writeUInt32LE(SCHED_CLS, 0);
  b.writeUInt32LE(TRIVIAL.length / 8, 4);
  b.writeBigUInt64LE(code.address, 8);
  b.writeBigUInt64LE(license.address, 16);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return bpf(BPF.PROG_LOAD, 72, 'load a BPF program');
      } catch (error) {
        // The verifier gives up when a signal comes, and wants to be asked again; libbpf does the same.
        if (!isErrno(error, ERRNO.EAGAIN) || attempt === LOAD_ATTEMPTS) throw error;
      }
    }
  } finally {
    keep(code, license);
  }
}
