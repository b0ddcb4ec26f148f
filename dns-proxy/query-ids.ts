import { randomFillSync } from 'node:crypto';

/** Numbers for queries that nobody can guess: 16 bits of the system's randomness each, fetched in bulk. */
const pool = new Uint16Array(4096);
let next = pool.length;

/** A number that `taken` does not hold; it must not hold all of them. */
export function freshId(taken: { has(id: number): boolean }): number {
  for (;;) {
    const id = randomWord();
    if (!taken.has(id)) return id;
  }
}

/** 16 random bits. */
export function randomWord(): number {
  if (next === pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  return pool[next++]!;
}
