/**
 * Reads an eBPF object as clang writes it: ELF64, little endian, with BTF. Formats: elf(5) and the kernel's
 * Documentation/bpf/btf.rst. Only what the generator needs.
 */

/** A section of the object. */
export interface Section {
  readonly index: number;
  readonly name: string;
  readonly bytes: Buffer;
}

/** A named symbol. `kind` is the ELF symbol type: 1 object, 2 function. */
export interface ElfSymbol {
  readonly name: string;
  readonly section: string;
  readonly offset: number;
  readonly size: number;
  readonly kind: number;
  readonly global: boolean;
}

const BTF_KINDS = [
  'void',
  'int',
  'ptr',
  'array',
  'struct',
  'union',
  'enum',
  'fwd',
  'typedef',
  'volatile',
  'const',
  'restrict',
  'func',
  'func_proto',
  'var',
  'datasec',
  'float',
  'decl_tag',
  'type_tag',
  'enum64',
] as const;

/** What a BTF type is. */
export type BtfKind = (typeof BTF_KINDS)[number];

/** A member of a struct or union; `offset` in bits. */
export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
}

/** One BTF type; fields that its kind does not have are absent or empty. */
export interface BtfType {
  readonly id: number;
  readonly kind: BtfKind;
  readonly name: string;
  /** Bytes, for int, struct, union and enum; the type referred to, for the other kinds. */
  readonly sizeOrType: number;
  readonly members: readonly BtfMember[];
  readonly values: readonly { readonly name: string; readonly value: number }[];
  readonly array?: { readonly element: number; readonly length: number };
  /** Int only: signed, or bool. */
  readonly encoding: number;
}

/** An object file and its types. */
export class BpfObject {
  readonly sections: readonly Section[];
  readonly symbols: readonly ElfSymbol[];
  readonly types: readonly BtfType[];

  constructor(file: Buffer) {
    this.sections = readSections(file);
    this.symbols = readSymbols(this.sections);
    const btf = this.section('.BTF');
    if (btf === undefined) throw new Error('the object has no .BTF section: compile it with -g');
    this.types = readTypes(btf.bytes);
  }

  section(name: string): Section | undefined {
    return this.sections.find((section) => section.name === name);
  }

  /** The type behind typedefs and qualifiers. */
  resolve(id: number): BtfType {
    let type = this.types[id]!;
    while (['typedef', 'const', 'volatile', 'restrict', 'type_tag'].includes(type.kind)) {
      type = this.types[type.sizeOrType]!;
    }
    return type;
  }

  /** Name of the outermost typedef of a type, which tells byte order (`__be16`), or `undefined`. */
  typedefName(id: number): string | undefined {
    let type = this.types[id]!;
    while (['const', 'volatile', 'restrict', 'type_tag'].includes(type.kind)) type = this.types[type.sizeOrType]!;
    return type.kind === 'typedef' ? type.name : undefined;
  }

  /** Size of a type in bytes. */
  sizeOf(id: number): number {
    const type = this.resolve(id);
    if (type.array !== undefined) return type.array.length * this.sizeOf(type.array.element);
    return type.kind === 'ptr' ? 8 : type.sizeOrType;
  }

  /** Texts of the `btf_decl_tag`s on a variable. */
  tagsOf(id: number): string[] {
    return this.types.filter((type) => type.kind === 'decl_tag' && type.sizeOrType === id).map((type) => type.name);
  }
}

function readSections(file: Buffer): Section[] {
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new Error('not a little-endian ELF64 file');
  }
  const table = Number(file.readBigUInt64LE(0x28));
  const entrySize = file.readUInt16LE(0x3a);
  const count = file.readUInt16LE(0x3c);
  const namesIndex = file.readUInt16LE(0x3e);
  const headers = Array.from({ length: count }, (_, index) => {
    const at = table + index * entrySize;
    const type = file.readUInt32LE(at + 4);
    const offset = Number(file.readBigUInt64LE(at + 0x18));
    const size = type === 8 ? 0 : Number(file.readBigUInt64LE(at + 0x20)); // SHT_NOBITS has no bytes in the file
    return { index, nameAt: file.readUInt32LE(at), bytes: file.subarray(offset, offset + size) };
  });
  const names = headers[namesIndex]!.bytes;
  return headers.map(({ index, nameAt, bytes }) => ({ index, name: cString(names, nameAt), bytes }));
}

function readSymbols(sections: readonly Section[]): ElfSymbol[] {
  const table = sections.find((section) => section.name === '.symtab')?.bytes ?? Buffer.alloc(0);
  const names = sections.find((section) => section.name === '.strtab')?.bytes ?? Buffer.alloc(0);
  const symbols: ElfSymbol[] = [];
  for (let at = 0; at + 24 <= table.length; at += 24) {
    const section = sections[table.readUInt16LE(at + 6)];
    const name = cString(names, table.readUInt32LE(at));
    if (section === undefined || name === '') continue;
    const info = table.readUInt8(at + 4);
    symbols.push({
      name,
      section: section.name,
      offset: Number(table.readBigUInt64LE(at + 8)),
      size: Number(table.readBigUInt64LE(at + 16)),
      kind: info & 0xf,
      global: info >> 4 === 1,
    });
  }
  return symbols;
}

function readTypes(btf: Buffer): BtfType[] {
  if (btf.readUInt16LE(0) !== 0xeb9f) throw new Error('bad BTF magic');
  const header = btf.readUInt32LE(4);
  const typesAt = header + btf.readUInt32LE(8);
  const end = typesAt + btf.readUInt32LE(12);
  const strings = btf.subarray(header + btf.readUInt32LE(16));
  const voidType: BtfType = { id: 0, kind: 'void', name: '', sizeOrType: 0, members: [], values: [], encoding: 0 };
  const types = [voidType];
  let at = typesAt;
  while (at < end) {
    const { type, next } = readType(btf, at, strings, types.length);
    types.push(type);
    at = next;
  }
  return types;
}

/** Reads the type at `at`: 12 bytes common to all, then what its kind adds. */
function readType(btf: Buffer, at: number, strings: Buffer, id: number): { type: BtfType; next: number } {
  const word = (offset: number): number => btf.readUInt32LE(offset);
  const info = word(at + 4);
  const count = info & 0xffff;
  const signed = info >>> 31 === 1; // also: struct members carry bit-field sizes
  const kind = BTF_KINDS[(info >>> 24) & 0x1f]!;
  const extra = at + 12;
  const rows = (size: number): number[] => Array.from({ length: count }, (_, i) => extra + i * size);
  const type: BtfType = {
    id,
    kind,
    name: cString(strings, word(at)),
    sizeOrType: word(at + 8),
    members:
      kind === 'struct' || kind === 'union'
        ? rows(12).map((row) => ({
            name: cString(strings, word(row)),
            type: word(row + 4),
            offset: signed ? word(row + 8) & 0xffffff : word(row + 8),
          }))
        : [],
    values:
      kind === 'enum'
        ? rows(8).map((row) => ({
            name: cString(strings, word(row)),
            value: signed ? btf.readInt32LE(row + 4) : word(row + 4),
          }))
        : [],
    ...(kind === 'array' ? { array: { element: word(extra), length: word(extra + 8) } } : {}),
    encoding: kind === 'int' ? (word(extra) >>> 24) & 0xf : 0,
  };
  return { type, next: extra + extraBytes(kind, count) };
}

function extraBytes(kind: BtfKind, count: number): number {
  switch (kind) {
    case 'int':
    case 'var':
    case 'decl_tag':
      return 4;
    case 'array':
      return 12;
    case 'struct':
    case 'union':
    case 'datasec':
    case 'enum64':
      return 12 * count;
    case 'enum':
    case 'func_proto':
      return 8 * count;
    default:
      return 0;
  }
}

function cString(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('utf8', at, end < 0 ? bytes.length : end);
}
