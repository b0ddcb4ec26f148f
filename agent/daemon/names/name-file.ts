import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeLine, encodeLine, entriesOf, recordsOf, type NameLine } from '../../fqdn/record.ts';
import type { CacheEntry } from '../../fqdn/namecache.ts';
import { errorText, WeirError } from '../../model/errors.ts';

/** A file smaller than this, in bytes, is not worth writing anew. */
const SMALL = 1 << 20;
/** It is written anew when so many times as long as it was then. */
const GROWTH = 3;
/** Records written in one turn of the event loop. */
const SLICE = 500;

/**
 * What was learned, on disk: lines are added as it happens, and the whole is written anew when it has grown. What a crash
 * cuts off at the end is lost; nothing is flushed to the disk itself, for after a crash of the machine no pod of it lives.
 */
export class NameFile {
  readonly #path: string;
  readonly #entries: () => Iterable<CacheEntry>;
  readonly #onError: (error: unknown) => void;
  #fd: number | undefined;
  #size = 0;
  /** Size after the last time that it was written whole. */
  #compact = SMALL;
  /** Lines added while it is written anew; undefined while it is not. */
  #meanwhile: string[] | undefined;
  #rewriting: Promise<void> = Promise.resolve();
  #failing = false;

  /**
   * @param entries all that there is, when the file is written anew
   * @param onError hears of the first of several faults in a row
   */
  constructor(path: string, entries: () => Iterable<CacheEntry>, onError: (error: unknown) => void) {
    this.#path = path;
    this.#entries = entries;
    this.#onError = onError;
  }

  /** What the last run knew. Lines that cannot be read are told as `problem`, and a copy is set aside. */
  read(now: number): { readonly entries: readonly CacheEntry[]; readonly problem?: WeirError } {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { entries: [] };
      return { entries: [], problem: this.#fault('STATE_CORRUPT', error) };
    }
    const lines: NameLine[] = [];
    let lost = 0;
    // What a crash cut off has no end of line.
    for (const line of text.split('\n').slice(0, -1)) {
      try {
        lines.push(decodeLine(line));
      } catch {
        lost++;
      }
    }
    const entries = entriesOf(lines);
    if (lost === 0) return { entries };
    const aside = `${this.#path}.corrupt-${now}`;
    copyFileSync(this.#path, aside);
    return { entries, problem: this.#fault('STATE_CORRUPT', `${lost} lines cannot be read; a copy is ${aside}`) };
  }

  /** Adds lines, at once. */
  add(lines: readonly NameLine[]): void {
    if (lines.length === 0) return;
    const text = lines.map((line) => `${encodeLine(line)}\n`).join('');
    this.#meanwhile?.push(text);
    this.#attempt(() => {
      if (this.#fd === undefined) {
        mkdirSync(dirname(this.#path), { recursive: true });
        this.#fd = openSync(this.#path, 'a', 0o600);
      }
      this.#size += writeSync(this.#fd, text);
    });
    if (this.#size > this.#compact * GROWTH) void this.rewrite();
  }

  /** Writes all of it anew. Resolves when that was tried. */
  rewrite(): Promise<void> {
    if (this.#meanwhile !== undefined) return this.#rewriting;
    this.#meanwhile = [];
    this.#rewriting = this.#rewrite().catch((error: unknown) => {
      this.#meanwhile = undefined;
      // Not before it has grown as much again.
      this.#compact = this.#size;
      this.#tell(error);
    });
    return this.#rewriting;
  }

  async close(): Promise<void> {
    await this.#rewriting;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  async #rewrite(): Promise<void> {
    const draft = `${this.#path}.new`;
    mkdirSync(dirname(this.#path), { recursive: true });
    const file = await open(draft, 'w', 0o600);
    let size = 0;
    try {
      let lines: string[] = [];
      const write = async (): Promise<void> => {
        const { bytesWritten } = await file.write(lines.join(''));
        size += bytesWritten;
        lines = [];
        await nextTurn();
      };
      for (const record of recordsOf(this.#entries()))
        if (lines.push(`${encodeLine(record)}\n`) >= SLICE) await write();
      await write();
      while (this.#meanwhile!.length > 0) {
        lines = this.#meanwhile!.splice(0);
        await write();
      }
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    await this.#takeOver(draft, size);
  }

  /** From here on lines go to the new file; those of the last moment go to both. */
  async #takeOver(draft: string, size: number): Promise<void> {
    const fd = openSync(draft, 'a', 0o600);
    const rest = this.#meanwhile!.join('');
    this.#meanwhile = undefined;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = fd;
    this.#size = size + (rest === '' ? 0 : writeSync(fd, rest));
    this.#compact = Math.max(SMALL, this.#size);
    await rename(draft, this.#path);
  }

  #attempt(write: () => void): void {
    try {
      write();
      this.#failing = false;
    } catch (error) {
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    if (!this.#failing) this.#onError(this.#fault('STATE_WRITE_FAILED', error));
    this.#failing = true;
  }

  #fault(code: 'STATE_CORRUPT' | 'STATE_WRITE_FAILED', cause: unknown): WeirError {
    const message = typeof cause === 'string' ? cause : errorText(cause);
    return new WeirError(code, message, { object: this.#path, cause });
  }
}
