import { PortTable } from './entry.ts';

/** The class of identities that no selector selects. */
export const NO_CLASS = 0;

/** The tree of classes: the path from the root to a class names the groups whose items it has. */
export class Classes {
  readonly #parents: number[] = [-1];
  readonly #groups: number[] = [-1];
  readonly #children = new Map<number, number>();
  /** What was last found, by hash: mostly one is enough. */
  readonly #found = new Map<number, number>();
  readonly #tables: (PortTable | undefined)[] = [PortTable.EMPTY];
  readonly #make: (groups: readonly number[]) => PortTable;

  constructor(make: (groups: readonly number[]) => PortTable) {
    this.#make = make;
  }

  get count(): number {
    return this.#parents.length;
  }

  table(node: number): PortTable {
    return (this.#tables[node] ??= this.#make(this.groups(node)));
  }

  tables(): Iterable<PortTable> {
    return this.#tables.filter((table) => table !== undefined);
  }

  /** Ascending, in a list of the caller's own. */
  groups(node: number): number[] {
    const out: number[] = [];
    for (let at = node; at > 0; at = this.#parents[at]!) out.push(this.#groups[at]!);
    return out.reverse();
  }

  /** The class of exactly these groups, which are ascending. */
  find(groups: readonly number[]): number {
    const hash = groups.reduce((sum, group) => (Math.imul(sum, 31) + group) | 0, 0);
    const known = this.#found.get(hash);
    if (known !== undefined && this.#consistsOf(known, groups)) return known;
    const node = groups.reduce((at, group) => this.#child(at, group), NO_CLASS);
    this.#found.set(hash, node);
    return node;
  }

  #consistsOf(node: number, groups: readonly number[]): boolean {
    let at = node;
    for (let i = groups.length - 1; i >= 0; i--) {
      if (at === NO_CLASS || this.#groups[at] !== groups[i]) return false;
      at = this.#parents[at]!;
    }
    return at === NO_CLASS;
  }

  /** Moves each slot's class one group on. */
  descend(classOf: Int32Array, slots: ArrayLike<number>, group: number): void {
    let from = -1;
    let to = -1;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i]!;
      const node = classOf[slot]!;
      if (node !== from) {
        from = node;
        to = this.#child(node, group);
      }
      classOf[slot] = to;
    }
  }

  #child(node: number, group: number): number {
    // Both stay far below 2^26, so that the product is exact.
    const key = group * 0x4000000 + node;
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#parents.length;
      this.#parents.push(node);
      this.#groups.push(group);
      this.#tables.push(undefined);
      this.#children.set(key, child);
    }
    return child;
  }
}
