import koffi from 'koffi';

/** Bytes at a fixed address that the kernel may read and write, kept alive by whoever holds this object. */
export interface Memory {
  readonly bytes: Buffer;
  readonly address: bigint;
}

/**
 * Zeroed memory. It is the backing store of an ArrayBuffer: V8 never moves one and frees it with its last reference, so
 * hold the result for as long as the kernel may use the address: in a field, or with {@link keep}. (A small typed array would not do: V8 keeps those on
 * its own heap and moves them.)
 */
export function memory(size: number): Memory {
  const buffer = new ArrayBuffer(size);
  return { bytes: Buffer.from(buffer), address: koffi.address(buffer) };
}

/** Reached from a module, so that nothing that stands here is freed. */
const kept: (readonly Memory[])[] = [];

/**
 * Keeps memory from being freed up to here: said after the call that uses its address. To V8 an address is a number, and
 * in compiled code an object that no later line mentions is garbage at once, even while the kernel reads it.
 */
export function keep(...memories: readonly Memory[]): void {
  kept[0] = memories;
}

/** `text` as a NUL-terminated string. */
export function cString(text: string): Memory {
  const string = memory(Buffer.byteLength(text) + 1);
  string.bytes.write(text);
  return string;
}

/** The text of a NUL-terminated string inside a field of fixed size. */
export function readCString(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}
