/** Makes a failing case small: takes away list elements and optional fields as long as it goes on failing. */

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The smallest case found that still fails. `fails` must be sure of itself: it may see cases no generator makes. */
export async function shrink<T>(found: T, fails: (candidate: T) => Promise<boolean>): Promise<T> {
  let best = found;
  for (let progress = true; progress;) {
    progress = false;
    for (const candidate of smaller(best as Json)) {
      if (!(await fails(candidate as T))) continue;
      best = candidate as T;
      progress = true;
      break;
    }
  }
  return best;
}

/** The value with one thing less, big things first. */
function* smaller(value: Json): Generator<Json> {
  if (Array.isArray(value)) {
    const list = value as readonly Json[];
    if (list.length > 3) {
      yield list.slice(0, list.length >> 1);
      yield list.slice(list.length >> 1);
    }
    for (let i = 0; i < list.length; i++) yield list.toSpliced(i, 1);
    for (const [i, item] of list.entries()) for (const less of smaller(item)) yield list.with(i, less);
  } else if (typeof value === 'object' && value !== null) {
    const record = value as Readonly<Record<string, Json>>;
    for (const key of Object.keys(record)) {
      if (OPTIONAL.has(key)) yield Object.fromEntries(Object.entries(record).filter(([name]) => name !== key));
      for (const less of smaller(record[key]!)) yield { ...record, [key]: less };
    }
  }
}

/** Fields that a case may do without. */
const OPTIONAL: ReadonlySet<string> = new Set(['auth', 'l7', 'listener', 'ports', 'peers', 'serverNames', 'worldOnly']);
