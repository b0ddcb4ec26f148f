/**
 * Building blocks of the decoders: each takes an unknown value, reports what is wrong with it to the {@link Reading},
 * and gives the typed value, or null when it refused it. An absent field never reaches a decoder; JSON's null is
 * an absent field, as Kubernetes reads it.
 */
import type { Reading, Refused } from './reading.ts';

export interface Decoder<T> {
  (value: unknown, reading: Reading): T | Refused;
  /** Null is a value of its own here, and not an absent field. */
  readonly acceptsNull?: true;
}

type Decoded<D> = D extends Decoder<infer T> ? T : never;
export type Fields = Readonly<Record<string, Decoder<unknown>>>;
/** What {@link object} makes of a table of fields. */
export type DecodedObject<F extends Fields> = { -readonly [K in keyof F]?: Decoded<F[K]> | undefined };

/** Fields of a bygone version, each with what to write instead. */
export type Leftovers = Readonly<Record<string, string>>;

/** An object with these fields and no others. */
export function object<const F extends Fields>(fields: F, leftovers: Leftovers = {}): Decoder<DecodedObject<F>> {
  const decoders = new Map<string, Decoder<unknown>>(Object.entries(fields));
  const bygone = new Map(Object.entries(leftovers));
  const names = [...decoders.keys()];
  return (value, reading) => {
    if (!isObject(value)) {
      if (value === null && !reading.strict) return {};
      return reading.wrongType(value, 'an object');
    }
    const out: Record<string, unknown> = {};
    for (const name in value) {
      const item = value[name];
      const decoder = decoders.get(name);
      if (decoder === undefined) {
        const instead = bygone.get(name);
        if (instead === undefined) reading.unknownField(name, item, names);
        else
          reading.schemaIssue('this field is no longer part of the language', {
            under: [name],
            value: item,
            remedy: instead,
          });
        continue;
      }
      if (item === undefined || (item === null && decoder.acceptsNull !== true)) continue;
      reading.enter(name);
      out[name] = decoder(item, reading) ?? undefined;
      reading.leave();
    }
    return out as DecodedObject<F>;
  };
}

/** A list; items that fail are left out of it, and the object they stand in is refused anyway. */
export function list<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return (value, reading) => {
    if (!Array.isArray(value)) return reading.wrongType(value, 'a list');
    const out: T[] = [];
    for (let i = 0; i < value.length; i++) {
      reading.enter(i);
      const decoded = item(value[i], reading);
      reading.leave();
      if (decoded !== null) out.push(decoded);
    }
    return out;
  };
}

/** An object whose keys are the user's. */
export function record<T>(item: Decoder<T>): Decoder<ReadonlyMap<string, T>> {
  return (value, reading) => {
    if (!isObject(value)) return reading.wrongType(value, 'an object');
    const out = new Map<string, T>();
    for (const key in value) {
      reading.enter(key);
      const decoded = item(value[key], reading);
      reading.leave();
      if (decoded !== null) out.set(key, decoded);
    }
    return out;
  };
}

export const string: Decoder<string> = (value, reading) => {
  if (typeof value === 'string') return value;
  if (value === null && !reading.strict) return '';
  return reading.wrongType(value, 'a string');
};

export const boolean: Decoder<boolean> = (value, reading) =>
  typeof value === 'boolean' ? value : reading.wrongType(value, 'true or false');

/** A whole number of 32 bits, signed, as the kinds' own types have it. */
export const integer: Decoder<number> = (value, reading) =>
  typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < 2 ** 31
    ? value
    : reading.wrongType(value, 'a whole number');

/** One of a closed set of names, which only the kind's schema closes. */
export function oneOf<const N extends string>(what: string, names: readonly N[]): Decoder<N> {
  return (value, reading) => {
    const text = string(value, reading);
    if (text === null || (names as readonly string[]).includes(text)) return text as N | null;
    return reading.strict ? reading.unknownName(what, text, names) : null;
  };
}

/** Anything: kept as it is. */
export const anything: Decoder<unknown> = (value) => value;

/** `decoder`, then a check or a conversion at the same place. */
export function then<A, B>(decoder: Decoder<A>, next: (value: A, reading: Reading) => B | Refused): Decoder<B> {
  return (value, reading) => {
    const decoded = decoder(value, reading);
    return decoded === null ? null : next(decoded, reading);
  };
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
