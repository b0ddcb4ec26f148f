/** Which block each byte of the coverage map stands for: read from an instrumented object's relocations and line information. */
import { BpfObject } from './btf.ts';

/** A basic block of a program or subprogram, or an edge between two. */
export interface Block {
  /** Its byte in the map. */
  readonly offset: number;
  readonly function: string;
  /** Relative to the project. */
  readonly file: string;
  /** Where its code comes from, inlined or not. 1-based. */
  readonly line: number;
  readonly column: number;
}

interface LineInfo {
  readonly at: number;
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** `BPF_LD | BPF_IMM | BPF_DW`: the first half of the instruction that loads an address. */
export const LOAD_ADDRESS = 0x18;
/** Instruction classes of jumps, on 64 and on 32 bits, and the two of their operations that go elsewhere. */
const JUMP = 0x05;
const JUMP32 = 0x06;
const CALL = 0x80;
const EXIT = 0x90;
const INSTRUCTION = 8;

/** Every block of the object whose bytes are in `section`, by offset. */
export function coverageBlocks(elf: Buffer, section: string): Block[] {
  const object = new BpfObject(elf);
  const lines = readLineInfo(object);
  const blocks = new Map<number, Block>();
  for (const code of object.sections) {
    const relocations = object.section(`.rel${code.name}`)?.bytes;
    const info = lines.get(code.name);
    if (relocations === undefined || info === undefined) continue;
    const jumps = jumpsTo(code.bytes);
    for (const { at, target } of readRelocations(relocations)) {
      const symbol = readSymbol(object, target);
      if (symbol.section !== section || code.bytes[at] !== LOAD_ADDRESS) continue;
      const offset = symbol.value + code.bytes.readUInt32LE(at + 4);
      const { file, line, column } = sourceOf(info, at, jumps);
      blocks.set(offset, { offset, function: functionAt(object, code.name, at), file, line, column });
    }
  }
  return [...blocks.values()].sort((a, b) => a.offset - b.offset);
}

/** What the block at `at` was made from. An edge has no source of its own: it is where its branch is. */
function sourceOf(info: readonly LineInfo[], at: number, jumps: ReadonlyMap<number, number>): LineInfo {
  const own = info.findLast((entry) => entry.at <= at) ?? info[0]!;
  if (own.line !== 0) return own;
  // The address may be loaded second: the value goes first then.
  const branch = jumps.get(at) ?? jumps.get(at - INSTRUCTION) ?? at;
  return info.findLast((entry) => entry.at <= branch && entry.line !== 0) ?? own;
}

/** Where the jumps of a section are, by where they lead. */
function jumpsTo(code: Buffer): Map<number, number> {
  const jumps = new Map<number, number>();
  for (let at = 0; at < code.length; at += INSTRUCTION) {
    const [kind, operation] = [code[at]! & 0x07, code[at]! & 0xf0];
    if ((kind !== JUMP && kind !== JUMP32) || operation === CALL || operation === EXIT) continue;
    jumps.set(at + INSTRUCTION * (1 + code.readInt16LE(at + 2)), at);
  }
  return jumps;
}

function functionAt(object: BpfObject, section: string, at: number): string {
  const found = object.symbols.find(
    (symbol) =>
      symbol.kind === 2 && symbol.section === section && symbol.offset <= at && at < symbol.offset + symbol.size,
  );
  return found?.name ?? section;
}

/** Elf64_Rel. */
function readRelocations(bytes: Buffer): { at: number; target: number }[] {
  return Array.from({ length: bytes.length / 16 }, (_, i) => ({
    at: Number(bytes.readBigUInt64LE(i * 16)),
    target: bytes.readUInt32LE(i * 16 + 12),
  }));
}

/** Elf64_Sym number `index`, sections' own symbols included. */
function readSymbol(object: BpfObject, index: number): { section: string; value: number } {
  const table = object.section('.symtab')!.bytes;
  const section = object.sections[table.readUInt16LE(index * 24 + 6)];
  return { section: section?.name ?? '', value: Number(table.readBigUInt64LE(index * 24 + 8)) };
}

/** Line information by section, in the order of the instructions (Documentation/bpf/btf.rst, ".BTF.ext"). */
function readLineInfo(object: BpfObject): Map<string, LineInfo[]> {
  const [btf, ext] = [object.section('.BTF')!.bytes, object.section('.BTF.ext')!.bytes];
  const strings = btf.readUInt32LE(4) + btf.readUInt32LE(16);
  const text = (at: number): string =>
    btf.toString('utf8', strings + at, btf.indexOf(0, strings + at)).replace(/^(\.\/)+/, '');
  let at = ext.readUInt32LE(4) + ext.readUInt32LE(16);
  const end = at + ext.readUInt32LE(20);
  const size = ext.readUInt32LE(at);
  const found = new Map<string, LineInfo[]>();
  for (at += 4; at < end;) {
    const count = ext.readUInt32LE(at + 4);
    const first = at + 8;
    const entries = Array.from({ length: count }, (_, i) => {
      const entry = first + i * size;
      const position = ext.readUInt32LE(entry + 12);
      return {
        at: ext.readUInt32LE(entry),
        file: text(ext.readUInt32LE(entry + 4)),
        line: position >>> 10,
        column: position & 0x3ff,
      };
    });
    found.set(
      text(ext.readUInt32LE(at)),
      entries.sort((a, b) => a.at - b.at),
    );
    at = first + count * size;
  }
  return found;
}
