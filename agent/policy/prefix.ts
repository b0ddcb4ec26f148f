/** Prefixes as policies compare them: by raw bytes, across the labels of identities and the CIDRs of rules (S21). */
import type { Cidr } from '../model/address.ts';
import { parseCidr } from '../model/address.ts';
import type { Label } from '../model/labels.ts';

/** The prefix that a `cidr:` label names; IPv6 labels write `-` for `:` (S21). Undefined when it names none. */
export function prefixOfLabel(label: Label): Cidr | undefined {
  if (label.source !== 'cidr' || !label.key.includes('/')) return undefined;
  const text = label.key.replaceAll('-', ':');
  try {
    return parseCidr(text);
  } catch {
    // A label that a person made up is just a label; it lies in no prefix.
    return undefined;
  }
}

/** Whether `outer` covers all of `inner`. */
export function covers(outer: Cidr, inner: Cidr): boolean {
  return (
    outer.length <= inner.length &&
    outer.address.bytes.length === inner.address.bytes.length &&
    samePrefix(outer.address.bytes, inner.address.bytes, outer.length)
  );
}

function samePrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((a[whole]! ^ b[whole]!) & (0xff00 >> rest) & 0xff) === 0;
}
