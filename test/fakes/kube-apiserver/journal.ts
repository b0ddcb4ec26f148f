/** A store that outlives its server: each change is in a file before anyone hears of it. */
import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { Store, type Change } from './store.ts';

/** How far above all revisions of before those of a new epoch are. */
const EPOCH = 1_000_000_000;

/** A line of the file. */
type Line = (Omit<Change, 'previous'> & { readonly collection: string }) | { readonly epoch: number };

export interface StoredOnDisk extends Disposable {
  readonly store: Store;
  /** No revision of before can be watched from any more: {@link Store.beginEpoch}. */
  beginEpoch(): void;
}

/** Opens the store that the file keeps; a new one when there is no such file. A last line that was cut off is dropped. */
export function openStore(file: string, history?: number): StoredOnDisk {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(file, Buffer.byteLength(whole));
  const fd = openSync(file, 'a');
  const write = (line: Line): void => void writeSync(fd, `${JSON.stringify(line)}\n`);
  const store = new Store(history, (collection, { type, revision, object }) => {
    write({ collection, type, revision, object });
  });
  for (const line of whole.split('\n')) if (line !== '') replay(store, JSON.parse(line) as Line);
  return {
    store,
    beginEpoch: () => {
      write({ epoch: EPOCH });
      store.beginEpoch(EPOCH);
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function replay(store: Store, line: Line): void {
  if ('epoch' in line) {
    store.beginEpoch(line.epoch);
    return;
  }
  const { collection, ...change } = line;
  store.replay(collection, change);
}
