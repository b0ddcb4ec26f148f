/** Which blocks the verifier keeps: constants of the configuration make the others dead code, which the kernel removes. */
import { mapInfo } from '../agent/kernel/bpf-info.ts';
import type { BpfObject } from '../agent/kernel/bpf-object.ts';
import { BPF, bpf, bpfAttr } from '../agent/kernel/bpf-syscall.ts';
import { keep, memory } from '../agent/kernel/memory.ts';
import {
  bpfHostConfigVariables,
  bpfLxcConfigVariables,
  bpfOverlayConfigVariables,
  bpfSockConfigVariables,
  type ConfigVariable,
} from '../bpf/gen/config.ts';
import { OBJECTS, type ObjectName } from '../bpf/gen/objects.ts';
import { COVERAGE_MAP } from '../test/datapath/objects.ts';
import { LOAD_ADDRESS } from './coverage-counters.ts';

const VARIABLES: Readonly<Record<ObjectName, Readonly<Record<string, ConfigVariable>>>> = {
  bpf_lxc: bpfLxcConfigVariables,
  bpf_host: bpfHostConfigVariables,
  bpf_overlay: bpfOverlayConfigVariables,
  bpf_sock: bpfSockConfigVariables,
};

type Load = (name: ObjectName, write: (config: DataView) => void) => BpfObject;

/** Offsets of all blocks that some configuration keeps: each switch is tried alone, and alone left out, with numbers and without. */
export function keptBlocks(name: ObjectName, load: Load): Set<number> {
  const variables = Object.values(VARIABLES[name]);
  const switches = variables.filter(({ type }) => type === 'boolean');
  const numbers = variables.filter(({ type, size }) => type === 'Uint8Array' || (type === 'number' && size === 1));
  const kept = new Set<number>();
  for (const others of [0, 1]) {
    for (const odd of [undefined, ...switches]) {
      for (const number of [undefined, 1]) {
        using object = load(name, (view) => {
          for (const { offset } of switches) view.setUint8(offset, others);
          if (odd !== undefined) view.setUint8(odd.offset, 1 - others);
          if (number === undefined) return;
          for (const { offset } of numbers) view.setUint8(offset, number);
        });
        for (const program of OBJECTS[name].programs)
          keptOffsets(object, program).forEach((offset) => kept.add(offset));
      }
    }
  }
  return kept;
}

/** `BPF_PSEUDO_MAP_VALUE`: the source register of an instruction that loads the address of a value, from its map's id and an offset. */
const MAP_VALUE = 2;

/** Offsets of the blocks that a loaded program has left. */
export function keptOffsets(object: BpfObject, program: string): Set<number> {
  const kept = new Set<number>();
  const { id } = mapInfo(object.mapFd(COVERAGE_MAP));
  const code = translatedInstructions(object.program(program).fd);
  for (let at = 0; at < code.length; at += 8) {
    if (code[at] !== LOAD_ADDRESS || code[at + 1]! >> 4 !== MAP_VALUE) continue;
    if (code.readUInt32LE(at + 4) === id) kept.add(code.readUInt32LE(at + 12));
  }
  return kept;
}

/** Offsets in struct bpf_prog_info. */
const INFO = { size: 40, translatedBytes: 20, translated: 32 } as const;

/** A program's instructions as the kernel has rewritten them, subprograms included. */
function translatedInstructions(fd: number): Buffer {
  const info = memory(INFO.size);
  const read = (): void => {
    const attr = bpfAttr();
    attr.writeUInt32LE(fd, 0);
    attr.writeUInt32LE(INFO.size, 4);
    attr.writeBigUInt64LE(info.address, 8);
    bpf(BPF.OBJ_GET_INFO_BY_FD, 16, 'read the instructions of a BPF program');
  };
  read();
  const code = memory(info.bytes.readUInt32LE(INFO.translatedBytes));
  info.bytes.fill(0);
  info.bytes.writeUInt32LE(code.bytes.length, INFO.translatedBytes);
  info.bytes.writeBigUInt64LE(code.address, INFO.translated);
  read();
  keep(info, code);
  return code.bytes;
}
