/** Accepted versions of policies, on disk, for an agent that starts and finds that a policy has become wrong meanwhile. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { resourceName, type Resource } from '../model/resource.ts';
import { writeAtomically } from '../state/json-file.ts';

export interface PolicyMemoryOptions {
  readonly directory: string;
  readonly onError: (message: string, error: unknown) => void;
}

/**
 * A file for each policy, with its last version that was accepted. It is written behind the back of everybody: a version that
 * a crash keeps from being written is the one thing that is lost. What an API server holds is read from there, not from here.
 */
export class PolicyMemory {
  readonly #options: PolicyMemoryOptions;
  /** What is to be written, by file; undefined: taken away. */
  readonly #due = new Map<string, string | undefined>();
  readonly #known = new Set<string>();
  #begun = false;
  #work: Promise<void> = Promise.resolve();

  constructor(options: PolicyMemoryOptions) {
    this.#options = options;
  }

  /** The version of an object that was accepted last; undefined when there is none of this very object. */
  recall(resource: Resource): Resource['object'] | undefined {
    const file = fileOf(resourceName(resource));
    try {
      const text = this.#due.has(file)
        ? this.#due.get(file)
        : readFileSync(join(this.#options.directory, file), 'utf8');
      if (text === undefined) return undefined;
      const { uid, object } = JSON.parse(text) as Pick<Resource, 'uid' | 'object'>;
      // Another object may have taken the name.
      return uid === resource.uid ? object : undefined;
    } catch (error) {
      if (!isAbsent(error))
        this.#options.onError(`the version before of ${resourceName(resource)} cannot be read`, error);
      return undefined;
    }
  }

  /** An object was accepted. */
  remember(resource: Resource): void {
    const file = fileOf(resourceName(resource));
    const { uid, object } = resource;
    this.#known.add(file);
    this.#set(file, `${JSON.stringify({ uid, object })}\n`);
  }

  /** There is no such object any more. */
  forget(name: string): void {
    this.#known.delete(fileOf(name));
    this.#set(fileOf(name), undefined);
  }

  /** An object that was never accepted, or not in this run, still exists. */
  keep(name: string): void {
    this.#known.add(fileOf(name));
  }

  /** All that existed at the start is known, and nobody is in a hurry any more: from here on files are written. */
  begin(): void {
    this.#begun = true;
    this.#work = this.#work.then(() => this.#sweep());
    this.#write();
  }

  /** Resolves when all that was asked for is on disk. */
  async settled(): Promise<void> {
    await this.#work;
  }

  #set(file: string, text: string | undefined): void {
    this.#due.set(file, text);
    if (this.#begun) this.#write();
  }

  #write(): void {
    this.#work = this.#work.then(async () => {
      for (const [file, text] of this.#due) {
        await this.#attempt(() => this.#bring(join(this.#options.directory, file), text));
        // A later version may have come in meanwhile.
        if (this.#due.get(file) === text) this.#due.delete(file);
      }
    });
  }

  async #bring(path: string, text: string | undefined): Promise<void> {
    if (text === undefined) await rm(path, { force: true });
    else if ((await readIfThere(path)) !== text) await writeAtomically(path, text);
  }

  /** Takes away the files of objects that were deleted while no agent ran. */
  async #sweep(): Promise<void> {
    await this.#attempt(async () => {
      const { directory } = this.#options;
      for (const file of await readdirIfThere(directory))
        if (!this.#known.has(file)) await rm(join(directory, file), { force: true });
    });
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.onError('an accepted policy cannot be kept for the next start', error);
    }
  }
}

const fileOf = (name: string): string => `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.json`;

const isAbsent = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function readdirIfThere(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}
