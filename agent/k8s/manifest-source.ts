/** A watched directory of manifests as a {@link ResourceSource}: it stands in for an API server. */
import { watch, type FSWatcher } from 'node:fs';
import { systemClock, type Clock } from '../model/clock.ts';
import { errorText, WeirError } from '../model/errors.ts';
import type { ResourceEvent, ResourceSource, ResourceStatus } from '../model/resource.ts';
import { diffResources } from './diff-resources.ts';
import { newIssues, type ManifestIssue } from './manifest-issue.ts';
import { ManifestSet } from './manifest-set.ts';
import { DirectoryScanner, type Scan, type ScannedDirectory } from './scan-directory.ts';

export interface ManifestSourceOptions {
  /** Read recursively: `*.yaml`, `*.yml` and `*.json`. */
  readonly directory: string;
  /** Called with all present issues, and with those of them that are new, whenever they change. */
  readonly onIssues?: (present: readonly ManifestIssue[], added: readonly ManifestIssue[]) => void;
  /** Called with what consumers say about an object. */
  readonly onStatus?: (status: ResourceStatus) => void;
  readonly clock?: Clock;
  /** How long the directory must be quiet before it is read; longer writes than this are read in part. */
  readonly quietMs?: number;
  /** How often the directory is read though nothing was heard: inotify loses events when its queue overflows. */
  readonly rescanMs?: number;
  /** Stands in for `fs.watch` in tests. */
  readonly watch?: Watch;
}

export type Watch = (directory: string, options: { readonly persistent: false }, onChange: () => void) => FSWatcher;

/** Under a steady stream of changes the directory is read this often nevertheless. */
const LONGEST_WAIT_MS = 1000;

/** How often the directory is read when it cannot be watched. */
const POLL_MS = 1000;

interface WatchResult {
  /** A watch was added: what happened before it stood was not heard. */
  readonly opened: boolean;
  readonly fault: string | undefined;
}

/**
 * Watches the directory with inotify. After a change it waits for quiet, scans, and delivers the difference. A file that
 * is bad keeps what it held before in force, as `manifest-set.ts` says; a directory that cannot be read keeps everything.
 */
export class ManifestSource implements ResourceSource {
  readonly #options: ManifestSourceOptions;
  readonly #clock: Clock;
  readonly #quietMs: number;
  readonly #openWatch: Watch;
  readonly #scanner: DirectoryScanner;
  readonly #watchers = new Map<string, FSWatcher>();
  #set = ManifestSet.empty;
  /** About the directory itself. */
  #sourceIssues: readonly ManifestIssue[] = [];
  #watchFault: string | undefined;
  #onEvent: ((event: ResourceEvent) => void) | undefined;
  #cancelTimer: (() => void) | undefined;
  #firstChange: number | undefined;
  #scanning: Promise<void> | undefined;
  #changedWhileScanning = false;

  constructor(options: ManifestSourceOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#quietMs = options.quietMs ?? 50;
    this.#openWatch = options.watch ?? watch;
    this.#scanner = new DirectoryScanner(options.directory, () => Date.now());
  }

  /** What is wrong at present, by file. */
  get issues(): readonly ManifestIssue[] {
    return [...this.#sourceIssues, ...this.#set.issues];
  }

  /**
   * Delivers what the directory holds, then `synced`. Bad files are issues, not failures.
   *
   * @throws WeirError CONFIG_INVALID when the directory cannot be read.
   */
  async start(onEvent: (event: ResourceEvent) => void): Promise<void> {
    this.#onEvent = onEvent;
    let next: ManifestSet;
    try {
      const scanning = this.#scan();
      this.#scanning = scanning.then(
        () => undefined,
        () => undefined,
      );
      next = await scanning;
    } catch (thrown) {
      this.#onEvent = undefined;
      this.#closeWatchers();
      throw new WeirError('CONFIG_INVALID', `cannot read the directory of manifests: ${errorText(thrown)}`, {
        object: this.#options.directory,
        remedy: 'create the directory, or name another with --manifests',
        cause: thrown,
      });
    }
    this.#scanning = undefined;
    this.#apply(next);
    onEvent({ type: 'synced' });
  }

  report(status: ResourceStatus): void {
    this.#options.onStatus?.(status);
  }

  /** After this resolves nothing more is delivered. */
  async stop(): Promise<void> {
    this.#onEvent = undefined;
    this.#cancelTimer?.();
    this.#closeWatchers();
    await this.#scanning;
  }

  #changed(): void {
    if (this.#scanning !== undefined) {
      this.#changedWhileScanning = true;
      return;
    }
    const now = this.#clock.now();
    this.#firstChange ??= now;
    this.#schedule(Math.min(this.#quietMs, Math.max(0, this.#firstChange + LONGEST_WAIT_MS - now)));
  }

  #schedule(ms: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#onEvent === undefined) return;
    this.#cancelTimer = this.#clock.after(ms, () => {
      this.#firstChange = undefined;
      this.#scanning = this.#rescan().finally(() => (this.#scanning = undefined));
    });
  }

  async #rescan(): Promise<void> {
    let next: ManifestSet;
    try {
      next = await this.#scan();
    } catch (thrown) {
      // Nothing is known about any file: all that was in force stays, and the watch may be gone with the directory.
      this.#closeWatchers();
      this.#announce(this.#set, `cannot be read, what it held stays in force: ${errorText(thrown)}`);
      this.#schedule(POLL_MS);
      return;
    }
    this.#apply(next);
  }

  /** Reads what changed and schedules the next look. The result is not in force yet. */
  async #scan(): Promise<ManifestSet> {
    this.#changedWhileScanning = false;
    let next = this.#set;
    let scan: Scan;
    let watched: WatchResult;
    do {
      scan = await this.#scanner.scan();
      next = next.update(scan.changed, scan.removed);
      watched = this.#watch(scan.directories);
      // What changed before the watch stood is found by another look.
    } while (watched.opened);
    this.#watchFault = watched.fault;
    const soon = scan.unsettled || this.#changedWhileScanning;
    const idle = watched.fault === undefined ? (this.#options.rescanMs ?? 30_000) : POLL_MS;
    this.#schedule(soon ? this.#quietMs : idle);
    return next;
  }

  /** Brings the watches to exactly `directories`. */
  #watch(directories: readonly ScannedDirectory[]): WatchResult {
    // Stopped in the middle of a scan.
    if (this.#onEvent === undefined) return { opened: false, fault: undefined };
    const wanted = new Map(directories.map((directory) => [directory.id, directory.path]));
    for (const [id, watcher] of this.#watchers) {
      if (wanted.has(id)) continue;
      watcher.close();
      this.#watchers.delete(id);
    }
    let opened = false;
    for (const [id, path] of wanted) {
      if (this.#watchers.has(id)) continue;
      try {
        const watcher = this.#openWatch(path, { persistent: false }, () => this.#changed());
        watcher.on('error', () => this.#dropWatch(id, watcher));
        this.#watchers.set(id, watcher);
        opened = true;
      } catch (thrown) {
        const fault = `${path} cannot be watched and is read every ${POLL_MS} ms instead: ${errorText(thrown)}`;
        return { opened, fault };
      }
    }
    return { opened, fault: undefined };
  }

  #dropWatch(id: string, watcher: FSWatcher): void {
    watcher.close();
    if (this.#watchers.get(id) === watcher) this.#watchers.delete(id);
    this.#changed();
  }

  #closeWatchers(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #apply(next: ManifestSet): void {
    const before = this.#set.resources;
    this.#announce(next, this.#watchFault);
    for (const event of diffResources(before, next.resources)) this.#onEvent?.(event);
  }

  /** Takes `next` as the present set and tells of issues that came or went. `fault` is about the directory itself. */
  #announce(next: ManifestSet, fault: string | undefined): void {
    const before = this.issues;
    this.#set = next;
    this.#sourceIssues =
      fault === undefined ? [] : [{ severity: 'warning', file: this.#options.directory, message: fault }];
    const after = this.issues;
    const added = newIssues(before, after);
    if (added.length > 0 || newIssues(after, before).length > 0) this.#options.onIssues?.(after, added);
  }
}
