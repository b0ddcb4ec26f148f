/**
 * Maglev's table (Eisenbud et al., NSDI 2016, §3.4): every backend prefers the places of the table in an order of its own, a
 * permutation made of its name; they take turns, and each takes the first of its places that is free. So all get nearly the
 * same number of places, every node makes the same table, and when a backend comes or goes most places stay as they were.
 */

/**
 * For each place of the table, which backend has it, as an index into `names`.
 *
 * @param names of the backends, the same on every node; their order does not matter
 * @param size a prime, far above the number of backends
 */
export function maglevTable(names: readonly string[], size: number): Int32Array {
  const table = new Int32Array(size).fill(-1);
  if (names.length === 0) return table;
  const turns = names.map((name, index) => ({ name, index })).sort((a, b) => (a.name < b.name ? -1 : 1));
  const place = turns.map(({ name }) => hash(name, 0x9747b28c) % size);
  const step = turns.map(({ name }) => (hash(name, 0x5bd1e995) % (size - 1)) + 1);
  for (let filled = 0; ;) {
    for (const [turn, { index }] of turns.entries()) {
      while (table[place[turn]!] !== -1) place[turn] = (place[turn]! + step[turn]!) % size;
      table[place[turn]!] = index;
      if (++filled === size) return table;
    }
  }
}

/** MurmurHash3 (32 bits) over the bytes of a text. */
function hash(text: string, seed: number): number {
  const bytes = new TextEncoder().encode(text);
  let h = seed;
  for (let at = 0; at < bytes.length; at += 4) {
    let k = 0;
    for (let i = Math.min(3, bytes.length - 1 - at); i >= 0; i--) k = (k << 8) | bytes[at + i]!;
    k = Math.imul(k, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, 0x1b873593);
    if (at + 4 > bytes.length) break;
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  h ^= bytes.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
