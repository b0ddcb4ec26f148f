/** Finds and reads the manifest files of a directory tree. */
import type { Dirent } from 'node:fs';
import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { errorText } from '../model/errors.ts';
import type { FileContent } from './manifest-set.ts';

/** What a file looked like when it was last read; equal signatures mean equal contents. */
interface Seen {
  readonly signature: string;
  /** The file was written so shortly before it was read that another write could leave the same signature. */
  readonly racy: boolean;
}

/** A directory, told apart from others that may have stood, or may come to stand, at the same path. */
export interface ScannedDirectory {
  readonly path: string;
  readonly id: string;
}

/** One look at the tree. */
export interface Scan {
  /** Files that are new or may have changed. */
  readonly changed: ReadonlyMap<string, FileContent>;
  /** Files that were there at the last scan and are gone for certain. */
  readonly removed: readonly string[];
  /** Directories whose changes matter. */
  readonly directories: readonly ScannedDirectory[];
  /** True when a file changed while it was read or may have: look again soon. */
  readonly unsettled: boolean;
}

/** Timestamps of a file that is older than this when it is read cannot hide a later write. */
const RACY_MS = 50;

/**
 * Scans a directory repeatedly and reads only what changed. Names that begin with a dot are not looked at: editors keep
 * backups there, and a mounted ConfigMap its versions, to which the visible names are links. Links are followed.
 */
export class DirectoryScanner {
  readonly #root: string;
  readonly #now: () => number;
  #seen = new Map<string, Seen>();

  /** @param now Milliseconds since the epoch, in the time of the file system. */
  constructor(root: string, now: () => number) {
    this.#root = root;
    this.#now = now;
  }

  /** @throws Error of node:fs when the root itself cannot be listed: then nothing is known about any file. */
  async scan(): Promise<Scan> {
    const tree = await findFiles(this.#root);
    const changed = new Map<string, FileContent>();
    const seen = new Map<string, Seen>();
    let unsettled = false;
    for (const file of tree.files) {
      const before = this.#seen.get(file);
      const read = await this.#read(file, before);
      if (read === 'gone') continue;
      seen.set(file, read.seen);
      unsettled ||= read.seen.racy;
      if (read.content !== undefined) changed.set(file, read.content);
    }
    for (const [file, reason] of tree.unreadable) changed.set(file, { kind: 'unreadable', reason });
    const removed: string[] = [];
    for (const [file, before] of this.#seen) {
      if (seen.has(file)) continue;
      // Below a directory that cannot be listed nothing is known: what it held stays.
      if (tree.unknown.some((directory) => file.startsWith(`${directory}/`))) seen.set(file, before);
      else if (!tree.unreadable.has(file)) removed.push(file);
    }
    for (const file of tree.unreadable.keys()) seen.set(file, { signature: 'unreadable', racy: false });
    this.#seen = seen;
    return { changed, removed, directories: tree.directories, unsettled };
  }

  async #read(
    file: string,
    before: Seen | undefined,
  ): Promise<'gone' | { readonly seen: Seen; readonly content?: FileContent }> {
    try {
      const signature = await fileSignature(file);
      if (before !== undefined && !before.racy && before.signature === signature.text) return { seen: before };
      const text = await readFile(file, 'utf8');
      const after = await fileSignature(file);
      const racy = after.text !== signature.text || Math.abs(this.#now() - after.modified) < RACY_MS;
      return { seen: { signature: after.text, racy }, content: { kind: 'text', text } };
    } catch (thrown) {
      if (isErrno(thrown, 'ENOENT')) return 'gone';
      return {
        seen: { signature: 'unreadable', racy: false },
        content: { kind: 'unreadable', reason: errorText(thrown) },
      };
    }
  }
}

interface Tree {
  readonly files: readonly string[];
  readonly directories: readonly ScannedDirectory[];
  /** Directories that could not be listed. */
  readonly unknown: readonly string[];
  /** Names that exist but lead nowhere or cannot be read, with the reason. */
  readonly unreadable: ReadonlyMap<string, string>;
}

async function findFiles(root: string): Promise<Tree> {
  const walk = new TreeWalk();
  // The link itself may be set to another directory.
  if ((await lstat(root)).isSymbolicLink()) await walk.watchDirectory(path.dirname(root));
  await walk.enter(root);
  return walk;
}

/** A walk over a directory tree in progress. */
class TreeWalk implements Tree {
  readonly files: string[] = [];
  readonly directories: ScannedDirectory[] = [];
  readonly unknown: string[] = [];
  readonly unreadable = new Map<string, string>();
  readonly #entered = new Set<string>();

  async enter(directory: string): Promise<void> {
    const id = await this.watchDirectory(directory);
    // A link to a directory above would never end.
    if (this.#entered.has(id)) return;
    this.#entered.add(id);
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (!entry.name.startsWith('.')) await this.#visit(path.join(directory, entry.name), entry);
    }
  }

  /** Adds `directory` to those whose changes matter. */
  async watchDirectory(directory: string): Promise<string> {
    const s = await stat(directory, { bigint: true });
    const id = `${s.dev}:${s.ino}:${s.birthtimeNs}`;
    if (!this.directories.some((known) => known.id === id)) this.directories.push({ path: directory, id });
    return id;
  }

  async #visit(file: string, entry: Dirent): Promise<void> {
    let target: { isFile(): boolean; isDirectory(): boolean };
    try {
      target = entry.isSymbolicLink() ? await stat(file) : entry;
    } catch (thrown) {
      if (isManifestName(file)) this.unreadable.set(file, errorText(thrown));
      return;
    }
    if (target.isDirectory()) await this.#enterBelow(file);
    if (!target.isFile() || !isManifestName(file)) return;
    this.files.push(file);
    // What a link leads to changes in a directory of its own.
    if (entry.isSymbolicLink()) await this.#watchTarget(file);
  }

  async #enterBelow(directory: string): Promise<void> {
    try {
      await this.enter(directory);
    } catch (thrown) {
      if (isErrno(thrown, 'ENOENT')) return;
      this.unknown.push(directory);
      this.unreadable.set(directory, errorText(thrown));
    }
  }

  async #watchTarget(link: string): Promise<void> {
    try {
      await this.watchDirectory(path.dirname(await realpath(link)));
    } catch (thrown) {
      // The link was changed under our eyes: its own directory tells of that.
      if (!isErrno(thrown, 'ENOENT')) throw thrown;
    }
  }
}

const isManifestName = (name: string): boolean => /\.(ya?ml|json)$/i.test(name);

async function fileSignature(file: string): Promise<{ readonly text: string; readonly modified: number }> {
  const s = await stat(file, { bigint: true });
  return { text: `${s.dev}:${s.ino}:${s.size}:${s.mtimeNs}:${s.ctimeNs}`, modified: Number(s.ctimeNs / 1_000_000n) };
}

function isErrno(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && (thrown as NodeJS.ErrnoException).code === code;
}
