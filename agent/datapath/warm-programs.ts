import { BpfMap } from '../kernel/bpf-map.ts';
import type { BpfObject, LoadedProgram } from '../kernel/bpf-object.ts';
import { BPF_F_RDONLY_PROG, MAP_TYPE } from '../kernel/bpf-syscall.ts';

/** Bytes of a config section, to be written on. */
export type WriteConfig = (view: DataView) => void;

/** The only key of the array that a config section is. */
const FIRST = new Uint8Array(4);

/**
 * The programs of one endpoint, judged by the verifier before anybody knows whose they will be: it takes tens of
 * milliseconds, which an ADD is not to wait for. What is usually embedded stands in a map that programs cannot write, and
 * that nobody can once it is frozen; the verifier took its values for unknown and judged the programs for all of them.
 *
 * Until {@link embed} they belong to nobody: no address is theirs, and their policy map, which is empty, denies everything.
 */
export class WarmPrograms implements Disposable {
  readonly policyMap: BpfMap;
  readonly #object: BpfObject;
  readonly #config: BpfMap;
  readonly #defaults: Buffer;

  constructor(object: BpfObject, config: BpfMap, defaults: Buffer, policyMap: BpfMap) {
    this.#object = object;
    this.#config = config;
    this.#defaults = defaults;
    this.policyMap = policyMap;
  }

  /** A map for the config section, to be handed to the programs in place of the one that libbpf would fill and freeze. */
  static configMap(size: number): BpfMap {
    const flags = BPF_F_RDONLY_PROG;
    return BpfMap.create({
      type: MAP_TYPE.ARRAY,
      keySize: 4,
      valueSize: size,
      maxEntries: 1,
      flags,
      name: 'weir_config',
    });
  }

  program(name: string): LoadedProgram {
    return this.#object.program(name);
  }

  /** Gives them their owner, once and for all. @throws KernelError BPF_MAP_FAILED */
  embed(write: WriteConfig): void {
    const bytes = Buffer.from(this.#defaults);
    write(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.#config.update(FIRST, bytes);
    this.#config.freeze();
  }

  /** Gives up its descriptors; what is attached or pinned lives on. */
  [Symbol.dispose](): void {
    this.#object.close();
    this.#config.close();
    this.policyMap.close();
  }
}
