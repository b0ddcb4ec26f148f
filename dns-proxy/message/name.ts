/**
 * Names as text. The canonical form is lower case with a final dot (S30). A dot or a backslash inside a label is written
 * `\.` and `\\`, and a byte that cannot be printed `\DDD` (RFC 1035 §5.1): two names on the wire that differ in more than
 * case never have the same text, and no label can pass for two.
 */
import { MAX_NAME_BYTES } from './constants.ts';

/** For each byte: the byte that stands for it in canonical text, or 0 when it is escaped. */
export const UNESCAPED: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e || byte === 0x5c) return 0;
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
});

/**
 * The wire form of a name as text, with or without its final dot, escapes understood, case kept; undefined when it is no
 * name: an empty label, one of more than 63 bytes, more than 255 bytes in all, or a broken escape.
 */
export function encodeName(text: string): Uint8Array | undefined {
  if (text === '.') return new Uint8Array(1);
  const out = new Uint8Array(MAX_NAME_BYTES);
  let label = 0;
  let to = 1;
  const endLabel = (): boolean => {
    const size = to - label - 1;
    out[label] = size;
    label = to++;
    return size > 0 && size < 0x40;
  };
  for (let at = 0; at < text.length;) {
    if (text[at] === '.') {
      if (!endLabel()) return undefined;
      at++;
      continue;
    }
    const found = readCharacter(text, at);
    // The last byte is the root's.
    if (found === undefined || to > MAX_NAME_BYTES - 2) return undefined;
    out[to++] = found.byte;
    at += found.length;
  }
  if (to > label + 1 && !endLabel()) return undefined;
  return label === 0 ? undefined : out.slice(0, label + 1);
}

function readCharacter(text: string, at: number): { readonly byte: number; readonly length: number } | undefined {
  const code = text.charCodeAt(at);
  if (code > 0xff) return undefined;
  if (code !== 0x5c) return { byte: code, length: 1 };
  const digits = /^\d{3}/.exec(text.slice(at + 1, at + 4))?.[0];
  if (digits !== undefined) return Number(digits) > 0xff ? undefined : { byte: Number(digits), length: 4 };
  const next = text.charCodeAt(at + 1);
  // A lone backslash at the end, or one before a digit that begins no number.
  if (Number.isNaN(next) || next > 0xff || (next >= 0x30 && next <= 0x39)) return undefined;
  return { byte: next, length: 2 };
}
