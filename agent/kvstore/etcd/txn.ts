/** Comparisons and operations of transactions. */
import type { WireKeyValue } from './messages.ts';

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** `0` for none. */
  readonly lease: string;
}

/** What must hold for a transaction to be done. */
export type Compare =
  /** There is no such key; with `prefix`, none that begins with it. */
  | { readonly is: 'absent'; readonly key: string; readonly prefix?: true }
  | { readonly is: 'equal'; readonly key: string; readonly value: string }
  /** The key is as it was then. */
  | { readonly is: 'unchanged'; readonly key: string; readonly revision: number };

export type Operation =
  | { readonly do: 'get'; readonly key: string }
  | { readonly do: 'put'; readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly do: 'delete'; readonly key: string };

const EQUAL = 0;
const TARGET = { create: 1, mod: 2, value: 3 } as const;

/** A comparison as etcd takes it. */
export function wireCompare(compare: Compare): object {
  const key = Buffer.from(compare.key);
  if (compare.is === 'absent') {
    const range = compare.prefix === true ? { range_end: prefixEnd(compare.key) } : {};
    return { result: EQUAL, target: TARGET.create, key, create_revision: 0, ...range };
  }
  if (compare.is === 'unchanged') return { result: EQUAL, target: TARGET.mod, key, mod_revision: compare.revision };
  return { result: EQUAL, target: TARGET.value, key, value: Buffer.from(compare.value) };
}

/** An operation as etcd takes it. */
export function requestOf(operation: Operation): object {
  const key = Buffer.from(operation.key);
  if (operation.do === 'get') return { request_range: { key } };
  if (operation.do === 'delete') return { request_delete_range: { key } };
  return { request_put: { key, value: Buffer.from(operation.value), lease: operation.lease ?? '0' } };
}

export const keyValueOf = (item: WireKeyValue): KeyValue => ({
  key: item.key.toString(),
  value: item.value.toString(),
  createRevision: Number(item.create_revision),
  modRevision: Number(item.mod_revision),
  lease: item.lease,
});

/** The first key behind all that begin with the prefix. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i] === 0xff) continue;
    end[i]!++;
    return end.subarray(0, i + 1);
  }
  // All keys there are.
  return Buffer.of(0);
}
