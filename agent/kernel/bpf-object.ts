/** Loads a compiled BPF object: edits its constants, joins it to pinned maps, and lets the verifier judge it. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { WeirError } from '../model/errors.ts';
import { duplicate, errno } from './libc.ts';
import { BpfMap } from './bpf-map.ts';
import { errnoName, KernelError } from './errno.ts';
import { isNull, libbpf, type Libbpf, type Pointer } from './libbpf.ts';
import { memory, readCString } from './memory.ts';

/** How an object is to be loaded. Naming a map, section or program that the object lacks is an error. */
export interface LoadSpec {
  /** For messages, such as `bpf_lxc of endpoint 42`. */
  readonly name: string;
  /** The ELF object file. */
  readonly elf: Uint8Array;
  /** By section, such as `.rodata.config`: called with its initial bytes to write on. */
  readonly data?: Readonly<Record<string, (bytes: Buffer) => void>>;
  /** Maps to use in place of the object's own; the descriptors stay the caller's. */
  readonly reuse?: Readonly<Record<string, { readonly fd: number }>>;
  /** Maps to be found, or pinned, at these absolute paths; folders are made. No other map is pinned, whatever the object says. */
  readonly pins?: Readonly<Record<string, string>>;
  /** Sizes other than the object's. A pinned map that exists must have the same. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** The programs to load; all of them when absent. */
  readonly programs?: readonly string[];
}

/** The verifier, or libbpf before it, refused an object. The whole log is kept; the message has its last words. */
export class LoadError extends KernelError {
  override readonly name: string = 'LoadError';
  /** The verifier's log, as long as the kernel made it; empty when the fault came before the verifier. */
  readonly verifierLog: string;
  /** What libbpf said about it, line by line. */
  readonly messages: readonly string[];

  constructor(object: string, errno: number, verifierLog: string, messages: readonly string[]) {
    super('BPF_LOAD_FAILED', `load ${object}: ${loadSummary(verifierLog, messages)}`, errno, { object });
    this.verifierLog = verifierLog;
    this.messages = messages;
  }
}

/** The line that says why: the verifier's complaint stands last, before its statistics. */
export function loadSummary(verifierLog: string, messages: readonly string[]): string {
  const lines = verifierLog.split('\n').filter((line) => line.trim() !== '');
  const complaint = lines.findLast((line) => !/^(processed|verification time|stack depth|max_states) /.test(line));
  if (complaint !== undefined) return complaint.trim();
  return messages[0]?.split('\n')[0]?.replace(/^libbpf: /, '') ?? 'refused';
}

/** A program in the kernel, alive as long as its object is open, or it is attached or pinned. */
export interface LoadedProgram {
  readonly name: string;
  readonly fd: number;
}

/** The verifier's log of one load at a time. Untouched pages cost nothing; a longer log keeps its tail (Linux 6.4). */
const log = memory(16 << 20);

/** An object whose programs and maps are in the kernel. */
export class BpfObject implements Disposable {
  readonly name: string;
  readonly #lib: Libbpf;
  readonly #maps = new Map<string, Pointer>();
  readonly #programs = new Map<string, Pointer>();
  #object: Pointer;

  private constructor(lib: Libbpf, object: Pointer, name: string) {
    this.#lib = lib;
    this.#object = object;
    this.name = name;
    for (let map = lib.nextMap(object, null); !isNull(map); map = lib.nextMap(object, map)) {
      this.#maps.set(lib.mapName(map), map);
    }
    for (let prog = lib.nextProgram(object, null); !isNull(prog); prog = lib.nextProgram(object, prog)) {
      this.#programs.set(lib.programName(prog), prog);
    }
  }

  /** Loads `spec` in place. On failure nothing stays in the kernel but maps pinned on the way. @throws LoadError */
  static load(spec: LoadSpec): BpfObject {
    log.bytes[0] = 0;
    const object = BpfObject.#open(spec);
    try {
      const loading = object.#lib.captured(() => object.#lib.load(object.#object));
      if (loading.result < 0) throw new LoadError(spec.name, -loading.result, readCString(log.bytes), loading.messages);
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** As {@link load}, with the verifier, which may take tens of milliseconds, on a worker thread. @throws LoadError */
  static async loadAsync(spec: LoadSpec): Promise<BpfObject> {
    const object = BpfObject.#open(spec, false);
    if ((await object.#lib.loadAsync(object.#object)) >= 0) return object;
    object.close();
    // Once more in place, where there is a log and libbpf's own words to be had.
    return BpfObject.load(spec);
  }

  static #open(spec: LoadSpec, logged = true): BpfObject {
    const lib = libbpf();
    const buffer = logged ? { logAddress: log.address, logSize: log.bytes.length } : { logAddress: 0n, logSize: 0 };
    const opened = lib.captured(() => lib.open(spec.elf, { name: spec.name, ...buffer }));
    if (isNull(opened.result)) throw new LoadError(spec.name, errno(), '', opened.messages);
    const object = new BpfObject(lib, opened.result, spec.name);
    try {
      object.#configure(spec);
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  #configure(spec: LoadSpec): void {
    for (const [section, write] of Object.entries(spec.data ?? {})) {
      const bytes = this.#lib.initialValue(this.#map(section));
      if (bytes === undefined) throw new WeirError('INTERNAL', `${this.name}: ${section} is not a data section`);
      write(bytes);
    }
    for (const [name, entries] of Object.entries(spec.maxEntries ?? {})) {
      this.#ok(`resize map ${name}`, this.#lib.setMaxEntries(this.#map(name), entries));
    }
    for (const [name, { fd }] of Object.entries(spec.reuse ?? {})) {
      this.#ok(`reuse map ${name}`, this.#lib.reuseFd(this.#map(name), fd));
    }
    // libbpf would pin what the object marks for pinning at /sys/fs/bpf itself, where all agents of a machine meet.
    for (const [name, map] of this.#maps) this.#ok(`leave map ${name} unpinned`, this.#lib.setPinPath(map, null));
    for (const [name, pin] of Object.entries(spec.pins ?? {})) {
      mkdirSync(path.dirname(pin), { recursive: true });
      this.#ok(`pin map ${name}`, this.#lib.setPinPath(this.#map(name), pin));
    }
    if (spec.programs !== undefined) this.#select(spec.programs);
  }

  #select(names: readonly string[]): void {
    for (const name of names) this.#program(name);
    for (const [name, program] of this.#programs) {
      this.#ok(`select program ${name}`, this.#lib.setAutoload(program, names.includes(name)));
    }
  }

  #ok(what: string, result: number): void {
    if (result < 0) throw new KernelError('BPF_LOAD_FAILED', `${this.name}: ${what}`, -result);
  }

  /** Names of its maps, data sections included. */
  get mapNames(): string[] {
    return [...this.#maps.keys()];
  }

  get programNames(): string[] {
    return [...this.#programs.keys()];
  }

  /** Descriptor of a map, which the object owns. */
  mapFd(name: string): number {
    return this.#lib.mapFd(this.#map(name));
  }

  /** A map of the object behind a descriptor of its own, which outlives the object. */
  map(name: string): BpfMap {
    return new BpfMap(duplicate(this.mapFd(name)), name);
  }

  /** @throws WeirError INTERNAL when the object has no such program, or it was not selected */
  program(name: string): LoadedProgram {
    const fd = this.#lib.programFd(this.#program(name));
    if (fd < 0) throw new WeirError('INTERNAL', `${this.name}: program ${name} is not loaded (${errnoName(-fd)})`);
    return { name, fd };
  }

  #map(name: string): Pointer {
    const map = this.#maps.get(name);
    if (map !== undefined) return map;
    throw new WeirError('INTERNAL', `${this.name} has no map ${name}; it has ${this.mapNames.join(', ')}`);
  }

  #program(name: string): Pointer {
    const program = this.#programs.get(name);
    if (program !== undefined) return program;
    throw new WeirError('INTERNAL', `${this.name} has no program ${name}; it has ${this.programNames.join(', ')}`);
  }

  /** Gives up its descriptors; what is attached or pinned lives on. */
  close(): void {
    if (isNull(this.#object)) return;
    this.#lib.close(this.#object);
    this.#object = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
