import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorText, WeirError } from '../model/errors.ts';

/** What a read found. A damaged file has been moved to `setAside` and does not exist any more. */
export type ReadOutcome<T> =
  | { readonly kind: 'absent' }
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'corrupt'; readonly setAside: string; readonly error: WeirError };

/**
 * One JSON document on disk. A reader sees the old document or the new one, never a mixture, also after a power cut:
 * writes go to a temporary file that is flushed and then renamed over the old one. Writes of one instance are
 * serialised, and writes that wait for the same turn are one write of the latest value.
 */
export class JsonFile<T> {
  readonly path: string;
  readonly #decode: (json: unknown) => T;
  #writing: Promise<void> = Promise.resolve();
  #next: { value: T; done: Promise<void> } | undefined;

  /** @param decode Validates parsed JSON; what it throws makes the file corrupt. */
  constructor(path: string, decode: (json: unknown) => T) {
    this.path = path;
    this.#decode = decode;
  }

  /** Reads the document; a corrupt one is set aside as `<path>.corrupt-<ms>` for a person to look at. */
  async read(now: number): Promise<ReadOutcome<T>> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (cause) {
      if (errno(cause) === 'ENOENT') return { kind: 'absent' };
      throw new WeirError('STATE_CORRUPT', `cannot read: ${errorText(cause)}`, { object: this.path, cause });
    }
    try {
      return { kind: 'value', value: this.#decode(JSON.parse(text)) };
    } catch (cause) {
      const setAside = `${this.path}.corrupt-${now}`;
      await rename(this.path, setAside);
      const error = new WeirError('STATE_CORRUPT', `${errorText(cause)}; the file was set aside as ${setAside}`, {
        object: this.path,
        cause,
      });
      return { kind: 'corrupt', setAside, error };
    }
  }

  /**
   * Resolves when `value`, or a later one, is on disk.
   *
   * @throws WeirError STATE_WRITE_FAILED; the previous document is then still in place.
   */
  write(value: T): Promise<void> {
    if (this.#next !== undefined) {
      this.#next.value = value;
      return this.#next.done;
    }
    const entry: { value: T; done: Promise<void> } = { value, done: Promise.resolve() };
    entry.done = this.#writing.then(() => {
      this.#next = undefined;
      return writeAtomically(this.path, `${JSON.stringify(entry.value)}\n`);
    });
    this.#next = entry;
    this.#writing = entry.done.catch(ignoreHere);
    return entry.done;
  }

  /** Removes the document after the writes that were asked for; an absent one is fine. */
  async remove(): Promise<void> {
    const done = this.#writing.then(() => rm(this.path, { force: true }));
    this.#writing = done.catch(ignoreHere);
    await done;
  }
}

/**
 * Replaces `path` by a file holding `text`, mode 0600; the directory is made when it is missing.
 *
 * @throws WeirError STATE_WRITE_FAILED; nothing of the attempt is left.
 */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(ignoreHere);
    throw new WeirError('STATE_WRITE_FAILED', `cannot write: ${errorText(cause)}`, { object: path, cause });
  }
}

/** A rename survives a power cut only when the directory was flushed as well. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function errno(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : undefined;
}

/** Whoever asked for the write has the rejection; the chain behind it must go on. */
function ignoreHere(): void {
  return;
}
