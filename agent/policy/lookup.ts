/**
 * The kernel's lookup, said in TypeScript (S7). `bpf/lib/policy.h` does the same on the policy map:
 *
 * 1. the longest match among the entries of the packet's exact identity;
 * 2. the longest match among the entries of identity 0;
 * 3. of the two the higher precedence; on a tie the denial; then the longer protocol and port; then the specific one.
 *
 * The kernel looks for the longest match per identity, not for the strongest, so a map state must hold, for every packet
 * and identity, that the longest match is the one that counts. The tables are built that way (`decision.ts`).
 */
import { compareEntries, type Entry, type PortTable } from './entry.ts';
import { keySpecificity, portKey } from './ports.ts';

/** The deciding entry; undefined when nothing matches, which is a denial. `port` is the type for ICMP. */
export function lookup(specific: PortTable, any: PortTable, protocol: number, port: number): Entry | undefined {
  const key = portKey(protocol, port, 16);
  const own = specific.longestMatch(key);
  const all = any.longestMatch(key);
  if (own < 0) return all < 0 ? undefined : any.entries[all];
  const a = specific.entries[own]!;
  if (all < 0) return a;
  const b = any.entries[all]!;
  const order = compareEntries(a, b);
  if (order !== 0) return order > 0 ? a : b;
  return keySpecificity(any.keys[all]!) > keySpecificity(specific.keys[own]!) ? b : a;
}
