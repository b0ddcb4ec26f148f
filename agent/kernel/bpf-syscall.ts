/**
 * bpf(2), command by command (include/uapi/linux/bpf.h). Each function fills the union from offset 0 and passes the size
 * up to the last field it knows: the kernel wants every byte past it zero.
 */
import os from 'node:os';
import type { KoffiFunc } from 'koffi';
import { type ErrorCode, WeirError } from '../model/errors.ts';
import { KernelError } from './errno.ts';
import { callAsync, errno, libc } from './libc.ts';
import { cString, keep, memory, type Memory } from './memory.ts';

const syscall = libc.func('long syscall(long number, long command, uint64 attr, long size)') as KoffiFunc<
  (number: number, command: number, attr: bigint, size: number) => number
>;

/** Commands of bpf(2). */
export const BPF = {
  MAP_CREATE: 0,
  MAP_LOOKUP_ELEM: 1,
  MAP_UPDATE_ELEM: 2,
  MAP_DELETE_ELEM: 3,
  MAP_GET_NEXT_KEY: 4,
  PROG_LOAD: 5,
  OBJ_PIN: 6,
  OBJ_GET: 7,
  PROG_TEST_RUN: 10,
  OBJ_GET_INFO_BY_FD: 15,
  MAP_LOOKUP_AND_DELETE_ELEM: 21,
  MAP_FREEZE: 22,
  MAP_LOOKUP_BATCH: 24,
  MAP_LOOKUP_AND_DELETE_BATCH: 25,
  MAP_UPDATE_BATCH: 26,
  MAP_DELETE_BATCH: 27,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
  LINK_DETACH: 34,
} as const;

export type BpfCommand = (typeof BPF)[keyof typeof BPF];

/** Map types (enum bpf_map_type) that Weir creates or meets. */
export const MAP_TYPE = {
  HASH: 1,
  ARRAY: 2,
  PROG_ARRAY: 3,
  PERCPU_HASH: 5,
  PERCPU_ARRAY: 6,
  LRU_HASH: 9,
  LRU_PERCPU_HASH: 10,
  LPM_TRIE: 11,
  ARRAY_OF_MAPS: 12,
  HASH_OF_MAPS: 13,
  SOCKMAP: 15,
  SOCKHASH: 18,
  RINGBUF: 27,
} as const;

export type MapType = (typeof MAP_TYPE)[keyof typeof MAP_TYPE];

/** The map allocates entries as they come; required for LPM tries. */
export const BPF_F_NO_PREALLOC = 1;
/** Programs may only read the map. */
export const BPF_F_RDONLY_PROG = 0x80;
/** BPF_LINK_UPDATE replaces only the program named as the old one. */
export const BPF_F_REPLACE = 4;

const SYS_BPF = bpfNumber();

function bpfNumber(): number {
  const numbers: Partial<Record<NodeJS.Architecture, number>> = { x64: 321, arm64: 280, riscv64: 280, loong64: 280 };
  const number = numbers[os.arch()];
  if (number === undefined) throw new WeirError('KERNEL_UNSUPPORTED', `Weir does not run on ${os.arch()} machines`);
  return number;
}

/** Calls bpf(2) and returns its raw result: negative means failure, and {@link errno} tells which. */
export function bpfRaw(command: BpfCommand, attr: bigint, size: number): number {
  return syscall(SYS_BPF, command, attr, size);
}

/** The one union of the synchronous commands; JavaScript runs one of them at a time. */
const attr = memory(160);

/** The shared union, zeroed: fill it and call {@link bpf} in the same turn. */
export function bpfAttr(): Buffer {
  return attr.bytes.fill(0);
}

/** Runs `command` on the shared union. @throws KernelError of `code` */
export function bpf(command: BpfCommand, size: number, operation: string, code: ErrorCode = 'SYSCALL_FAILED'): number {
  const result = bpfRaw(command, attr.address, size);
  if (result < 0) throw new KernelError(code, operation, errno());
  return result;
}

/** What a new map looks like. */
export interface MapSpec {
  readonly type: MapType;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes; of one CPU's value for per-CPU maps. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_*; 0 when absent. */
  readonly flags?: number;
  /** The kernel keeps its first 15 bytes. */
  readonly name: string;
}

/** BPF_MAP_CREATE. @returns the map's descriptor @throws KernelError BPF_MAP_FAILED */
export function mapCreate(spec: MapSpec): number {
  const b = bpfAttr();
  b.writeUInt32LE(spec.type, 0);
  b.writeUInt32LE(spec.keySize, 4);
  b.writeUInt32LE(spec.valueSize, 8);
  b.writeUInt32LE(spec.maxEntries, 12);
  b.writeUInt32LE(spec.flags ?? 0, 16);
  b.write(objectName(spec.name), 28, 15);
  return bpf(BPF.MAP_CREATE, 72, `create BPF map ${spec.name}`, 'BPF_MAP_FAILED');
}

/** A name as the kernel takes it: 15 bytes of letters, digits, `_` and `.`. */
function objectName(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_.]/g, '_').slice(0, 15);
}

/** BPF_MAP_FREEZE: user space can no longer write the map. @throws KernelError BPF_MAP_FAILED */
export function mapFreeze(fd: number, name: string): void {
  bpfAttr().writeUInt32LE(fd, 0);
  bpf(BPF.MAP_FREEZE, 4, `freeze BPF map ${name}`, 'BPF_MAP_FAILED');
}

/** BPF_OBJ_PIN: gives a map, program or link a name on a BPF file system. @throws KernelError SYSCALL_FAILED */
export function objectPin(fd: number, path: string): void {
  const name = cString(path);
  const b = bpfAttr();
  b.writeBigUInt64LE(name.address, 0);
  b.writeUInt32LE(fd, 8);
  bpf(BPF.OBJ_PIN, 16, `pin a BPF object at ${path}`);
  keep(name);
}

/** BPF_OBJ_GET: opens what is pinned at `path`. @throws KernelError SYSCALL_FAILED, ENOENT when nothing is */
export function objectGet(path: string): number {
  const name = cString(path);
  bpfAttr().writeBigUInt64LE(name.address, 0);
  const fd = bpf(BPF.OBJ_GET, 16, `open the BPF object pinned at ${path}`);
  keep(name);
  return fd;
}

/** Where a program may be attached by a link (enum bpf_attach_type). */
export const ATTACH_TYPE = {
  CGROUP_INET4_CONNECT: 10,
  CGROUP_INET6_CONNECT: 11,
  CGROUP_UDP4_SENDMSG: 14,
  CGROUP_UDP6_SENDMSG: 15,
  CGROUP_UDP4_RECVMSG: 19,
  CGROUP_UDP6_RECVMSG: 20,
  CGROUP_INET4_GETPEERNAME: 29,
  CGROUP_INET6_GETPEERNAME: 30,
  TCX_INGRESS: 46,
  TCX_EGRESS: 47,
} as const;
export type AttachType = (typeof ATTACH_TYPE)[keyof typeof ATTACH_TYPE];

function linkCreateAttr(b: Buffer, programFd: number, target: number, attachType: AttachType): void {
  b.writeUInt32LE(programFd, 0);
  b.writeUInt32LE(target, 4);
  b.writeUInt32LE(attachType, 8);
}

const linkCreateText = (target: string): string => `attach a BPF program to ${target}`;

/** BPF_LINK_CREATE in the calling thread's network namespace; waits for RCU, so it blocks 6 to 12 ms. */
export function linkCreateSync(programFd: number, target: number, attachType: AttachType): number {
  linkCreateAttr(bpfAttr(), programFd, target, attachType);
  return bpf(BPF.LINK_CREATE, 64, linkCreateText(`interface ${target}`));
}

/**
 * BPF_LINK_CREATE on a worker thread, hence in the process's own network namespace.
 *
 * @param target number of an interface, or descriptor of a cgroup's folder
 * @param name of the target, for errors
 * @returns the link's descriptor
 */
export async function linkCreate(
  programFd: number,
  target: number,
  attachType: AttachType,
  name = `interface ${target}`,
): Promise<number> {
  const own = memory(64);
  linkCreateAttr(own.bytes, programFd, target, attachType);
  return await bpfAsync(BPF.LINK_CREATE, own, linkCreateText(name));
}

/** BPF_LINK_DETACH on a worker thread. */
export async function linkDetach(linkFd: number): Promise<void> {
  const own = memory(8);
  own.bytes.writeUInt32LE(linkFd, 0);
  await bpfAsync(BPF.LINK_DETACH, own, 'detach a BPF link');
}

/** BPF_LINK_DETACH in place, blocking for an RCU grace period. */
export function linkDetachSync(linkFd: number): void {
  bpfAttr().writeUInt32LE(linkFd, 0);
  bpf(BPF.LINK_DETACH, 8, 'detach a BPF link');
}

/** Runs `command` on a union of its own, on a worker thread. @throws KernelError SYSCALL_FAILED */
export async function bpfAsync(command: BpfCommand, own: Memory, operation: string): Promise<number> {
  const done = await callAsync(syscall, SYS_BPF, command, own.address, own.bytes.length);
  keep(own);
  if (done.result < 0) throw new KernelError('SYSCALL_FAILED', operation, done.errno);
  return done.result;
}

/**
 * BPF_LINK_UPDATE, on a worker thread: atomically replaces the program of a link; no packet passes between the two.
 *
 * @throws KernelError SYSCALL_FAILED; EEXIST when the program is on that hook already, ENOLINK when the device is gone
 */
export async function linkUpdate(linkFd: number, programFd: number): Promise<void> {
  const own = memory(32);
  own.bytes.writeUInt32LE(linkFd, 0);
  own.bytes.writeUInt32LE(programFd, 4);
  await bpfAsync(BPF.LINK_UPDATE, own, 'update a BPF link');
}
