/** libbpf through koffi, loaded when first used so that a machine without it gets a message instead of a crash. */
import koffi, { type KoffiFunc, type LibraryHandle } from 'koffi';
import { WeirError } from '../model/errors.ts';
import { callAsync, libc } from './libc.ts';

/** A pointer into libbpf's own objects; 0n or null means none. */
export type Pointer = bigint | null;

const OpenOpts = koffi.struct('bpf_object_open_opts', {
  sz: 'size_t',
  object_name: 'const char *',
  relaxed_maps: 'bool',
  pin_root_path: 'const char *',
  attach_prog_fd: 'uint32',
  kconfig: 'const char *',
  btf_custom_path: 'const char *',
  kernel_log_buf: 'void *',
  kernel_log_size: 'size_t',
  kernel_log_level: 'uint32',
});

/** The options of bpf_object__open_mem that Weir sets. */
export interface OpenOptions {
  readonly name: string;
  readonly logAddress: bigint;
  readonly logSize: number;
}

export interface Libbpf {
  open(elf: Uint8Array, options: OpenOptions): Pointer;
  /** Results of `int` functions are 0 or a negative error number. */
  load(object: Pointer): number;
  /** As {@link load}, on a worker thread, where libbpf prints nothing; several objects may be loaded at once. */
  loadAsync(object: Pointer): Promise<number>;
  close(object: Pointer): void;
  findMap(object: Pointer, name: string): Pointer;
  nextMap(object: Pointer, after: Pointer): Pointer;
  mapName(map: Pointer): string;
  mapFd(map: Pointer): number;
  reuseFd(map: Pointer, fd: number): number;
  /** @param path null for none */
  setPinPath(map: Pointer, path: string | null): number;
  setMaxEntries(map: Pointer, entries: number): number;
  /** The bytes a data section starts with, live until the object is loaded. */
  initialValue(map: Pointer): Buffer | undefined;
  nextProgram(object: Pointer, after: Pointer): Pointer;
  programName(program: Pointer): string;
  programFd(program: Pointer): number;
  setAutoload(program: Pointer, load: boolean): number;
  /** 1 when programs of `programType` may call helper `number`, 0 when not. */
  probeHelper(programType: number, number: number): number;
  /** Runs `fn` and returns what libbpf wanted to print meanwhile, warnings only. */
  captured<T>(fn: () => T): { readonly result: T; readonly messages: string[] };
}

let loaded: Libbpf | undefined;

/** @throws WeirError KERNEL_UNSUPPORTED when the library is not installed */
export function libbpf(): Libbpf {
  return (loaded ??= bind(openLibrary()));
}

function openLibrary(): LibraryHandle {
  try {
    return koffi.load('libbpf.so.1');
  } catch (cause) {
    throw new WeirError('KERNEL_UNSUPPORTED', 'libbpf.so.1 cannot be loaded', {
      remedy: "install libbpf 1.x (Debian's package libbpf1)",
      cause,
    });
  }
}

function bind(lib: LibraryHandle): Libbpf {
  const open = lib.func(
    'void *bpf_object__open_mem(const void *elf, size_t size, bpf_object_open_opts *opts)',
  ) as KoffiFunc<(elf: Uint8Array, size: number, opts: Record<string, unknown>) => Pointer>;
  const initialValue = lib.func('void *bpf_map__initial_value(void *map, _Out_ size_t *size)') as KoffiFunc<
    (map: Pointer, size: number[]) => Pointer
  >;
  const load = lib.func('int bpf_object__load(void *object)') as KoffiFunc<(object: Pointer) => number>;
  return {
    open: (elf, { name, logAddress, logSize }) =>
      open(elf, elf.length, {
        // A short size is silently taken as an older, smaller struct: the compiler's own figure, never a guess.
        sz: koffi.sizeof(OpenOpts),
        object_name: name,
        kernel_log_buf: logAddress,
        kernel_log_size: logSize,
      }),
    load,
    loadAsync: async (object) => (await callAsync(load, object)).result,
    close: lib.func('void bpf_object__close(void *object)') as Libbpf['close'],
    findMap: lib.func('void *bpf_object__find_map_by_name(void *object, const char *name)') as Libbpf['findMap'],
    nextMap: lib.func('void *bpf_object__next_map(void *object, void *after)') as Libbpf['nextMap'],
    mapName: lib.func('const char *bpf_map__name(void *map)') as Libbpf['mapName'],
    mapFd: lib.func('int bpf_map__fd(void *map)') as Libbpf['mapFd'],
    reuseFd: lib.func('int bpf_map__reuse_fd(void *map, int fd)') as Libbpf['reuseFd'],
    setPinPath: lib.func('int bpf_map__set_pin_path(void *map, const char *path)') as Libbpf['setPinPath'],
    setMaxEntries: lib.func('int bpf_map__set_max_entries(void *map, uint32 entries)') as Libbpf['setMaxEntries'],
    initialValue: (map) => {
      const size = [0];
      const pointer = initialValue(map, size);
      return isNull(pointer) ? undefined : Buffer.from(koffi.view(pointer, Number(size[0])));
    },
    nextProgram: lib.func('void *bpf_object__next_program(void *object, void *after)') as Libbpf['nextProgram'],
    programName: lib.func('const char *bpf_program__name(void *program)') as Libbpf['programName'],
    programFd: lib.func('int bpf_program__fd(void *program)') as Libbpf['programFd'],
    setAutoload: lib.func('int bpf_program__set_autoload(void *program, bool load)') as Libbpf['setAutoload'],
    probeHelper: bindProbe(lib),
    captured: capture(lib),
  };
}

function bindProbe(lib: LibraryHandle): Libbpf['probeHelper'] {
  const probe = lib.func('int libbpf_probe_bpf_helper(int type, int helper, void *opts)') as KoffiFunc<
    (type: number, helper: number, opts: null) => number
  >;
  return (type, helper) => probe(type, helper, null);
}

export function isNull(pointer: Pointer): pointer is null {
  return pointer === null || pointer === 0n;
}

/** enum libbpf_print_level: 0 warn, 1 info, 2 debug. */
const LIBBPF_WARN = 0;

/** libbpf formats its messages with a va_list, which on x86-64 and arm64 travels as a pointer: vsnprintf takes it on. */
function capture(lib: LibraryHandle): Libbpf['captured'] {
  const setPrint = lib.func('void *libbpf_set_print(void *print)') as KoffiFunc<(print: bigint | null) => Pointer>;
  const format = libc.func('int vsnprintf(void *buffer, size_t size, const char *format, void *args)') as KoffiFunc<
    (buffer: Buffer, size: number, format: string, args: Pointer) => number
  >;
  const PrintFn = koffi.proto('int LibbpfPrint(int level, const char *format, void *args)');
  const text = Buffer.from(new ArrayBuffer(1 << 16));
  let messages: string[] = [];
  const print = koffi.register((level: number, pattern: string, args: Pointer): number => {
    if (level > LIBBPF_WARN) return 0;
    const length = format(text, text.length, pattern, args);
    messages.push(text.toString('utf8', 0, Math.min(Math.max(length, 0), text.length - 1)));
    return 0;
  }, koffi.pointer(PrintFn));
  // Only while somebody listens in place: a worker thread would wait for the event loop with every line.
  setPrint(null);
  return (fn) => {
    const own: string[] = [];
    const before = messages;
    messages = own;
    setPrint(print);
    try {
      return { result: fn(), messages: own };
    } finally {
      setPrint(null);
      messages = before;
    }
  };
}
