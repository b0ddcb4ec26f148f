/** What the kernel tells about a map, a program or a link that one holds a descriptor of. */
import { BPF, bpf, bpfAsync, bpfAttr } from './bpf-syscall.ts';
import { keep, memory, readCString } from './memory.ts';

const info = memory(256);

function objectInfo(fd: number): Buffer {
  info.bytes.fill(0);
  const b = bpfAttr();
  b.writeUInt32LE(fd, 0);
  b.writeUInt32LE(info.bytes.length, 4);
  b.writeBigUInt64LE(info.address, 8);
  bpf(BPF.OBJ_GET_INFO_BY_FD, 16, 'read what a BPF object is');
  return info.bytes;
}

export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
}

/** struct bpf_map_info of a map's descriptor. */
export function mapInfo(fd: number): MapInfo {
  const b = objectInfo(fd);
  return {
    type: b.readUInt32LE(0),
    id: b.readUInt32LE(4),
    keySize: b.readUInt32LE(8),
    valueSize: b.readUInt32LE(12),
    maxEntries: b.readUInt32LE(16),
    flags: b.readUInt32LE(20),
    name: readCString(b.subarray(24, 40)),
  };
}

export interface ProgramInfo {
  readonly type: number;
  readonly id: number;
  /** Hash of the instructions, in hexadecimal. */
  readonly tag: string;
  readonly name: string;
  /** Instructions after the kernel rewrote them. */
  readonly instructions: number;
  /** Instructions that the verifier walked, each as often as it came past: what its limit of a million counts. */
  readonly verifiedInstructions: number;
}

/** struct bpf_prog_info of a program's descriptor. */
export function programInfo(fd: number): ProgramInfo {
  const b = objectInfo(fd);
  return {
    type: b.readUInt32LE(0),
    id: b.readUInt32LE(4),
    tag: b.toString('hex', 8, 16),
    name: readCString(b.subarray(64, 80)),
    instructions: b.readUInt32LE(20) / 8,
    verifiedInstructions: b.readUInt32LE(216),
  };
}

export interface LinkInfo {
  readonly id: number;
  readonly programId: number;
  /** 0 once the device is gone. */
  readonly ifindex: number;
  readonly attachType: number;
}

/** struct bpf_link_info of a TCX link's descriptor, read on a worker thread: the kernel takes its routing lock for it. */
export async function linkInfo(fd: number): Promise<LinkInfo> {
  const b = await readLinkInfo(fd);
  return {
    id: b.readUInt32LE(4),
    programId: b.readUInt32LE(8),
    ifindex: b.readUInt32LE(16),
    attachType: b.readUInt32LE(20),
  };
}

export interface CgroupLinkInfo {
  readonly programId: number;
  /** 0 once the cgroup is gone. */
  readonly cgroupId: bigint;
  readonly attachType: number;
}

/** struct bpf_link_info of a cgroup link's descriptor. */
export async function cgroupLinkInfo(fd: number): Promise<CgroupLinkInfo> {
  const b = await readLinkInfo(fd);
  return { programId: b.readUInt32LE(8), cgroupId: b.readBigUInt64LE(16), attachType: b.readUInt32LE(24) };
}

async function readLinkInfo(fd: number): Promise<Buffer> {
  const [attr, link] = [memory(16), memory(64)];
  attr.bytes.writeUInt32LE(fd, 0);
  attr.bytes.writeUInt32LE(link.bytes.length, 4);
  attr.bytes.writeBigUInt64LE(link.address, 8);
  await bpfAsync(BPF.OBJ_GET_INFO_BY_FD, attr, 'read what a BPF link is');
  keep(link);
  return link.bytes;
}
