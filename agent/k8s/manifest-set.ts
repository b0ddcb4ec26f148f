/** What a directory of manifests means: the objects of all its files, and what is wrong with them. Pure. */
import { resourceName, type Resource } from '../model/resource.ts';
import { resourceKey, type ResourceSet } from './diff-resources.ts';
import type { ManifestIssue } from './manifest-issue.ts';
import { parseManifest } from './parse-manifest.ts';

/** What a look at a file found. */
export type FileContent =
  | { readonly kind: 'text'; readonly text: string }
  /** It is there but cannot be read just now. */
  | { readonly kind: 'unreadable'; readonly reason: string };

/** What one file contributes. */
interface FileState {
  /** In force: from the last version of the file that was good. */
  readonly resources: readonly Resource[];
  /** Of the newest version. */
  readonly issues: readonly ManifestIssue[];
}

/** The files of a directory, by name. Each update returns a new set. */
export class ManifestSet {
  static readonly empty = new ManifestSet(new Map());

  readonly resources: ResourceSet;
  /** Sorted by file. */
  readonly issues: readonly ManifestIssue[];
  readonly #files: ReadonlyMap<string, FileState>;

  private constructor(files: ReadonlyMap<string, FileState>) {
    this.#files = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
    const merged = merge(this.#files);
    this.resources = merged.resources;
    this.issues = merged.issues;
  }

  get files(): readonly string[] {
    return [...this.#files.keys()];
  }

  /** Takes in new contents and forgets `removed` files. */
  update(contents: ReadonlyMap<string, FileContent>, removed: Iterable<string> = []): ManifestSet {
    const files = new Map(this.#files);
    for (const file of removed) files.delete(file);
    for (const [file, content] of contents) files.set(file, nextState(file, content, files.get(file)));
    return new ManifestSet(files);
  }
}

/** A file that is bad in any place keeps all of what it held before: half a policy may allow what the whole denies. */
function nextState(file: string, content: FileContent, before: FileState | undefined): FileState {
  const keep = (message: string): FileState => ({
    resources: before?.resources ?? [],
    issues: [{ severity: 'error', file, message }],
  });
  if (content.kind === 'unreadable') return keep(`cannot be read: ${content.reason}`);
  if (content.text.trim() === '' && before !== undefined && before.resources.length > 0) {
    // An editor that truncates before it writes looks like this, and so does a full disk.
    return keep('is empty; its objects stay in force until the file is removed or filled');
  }
  const parsed = parseManifest(file, content.text);
  const failed = parsed.issues.some((issue) => issue.severity === 'error');
  return { resources: failed ? (before?.resources ?? []) : parsed.resources, issues: parsed.issues };
}

function merge(files: ReadonlyMap<string, FileState>): { resources: ResourceSet; issues: readonly ManifestIssue[] } {
  const resources = new Map<string, Resource>();
  const issues: ManifestIssue[] = [];
  for (const [file, state] of files) {
    issues.push(...state.issues);
    for (const resource of state.resources) {
      const key = resourceKey(resource);
      const first = resources.get(key);
      if (first === undefined) resources.set(key, resource);
      else issues.push(duplicate(file, resource, first));
    }
  }
  return { resources, issues };
}

function duplicate(file: string, resource: Resource, first: Resource): ManifestIssue {
  const here = resource.positionOf?.('metadata.name');
  const there = first.positionOf?.('metadata.name');
  return {
    severity: 'warning',
    file,
    ...(here === undefined ? {} : { line: here.line, column: here.column }),
    object: resourceName(resource),
    field: 'metadata.name',
    message: `is defined already${there === undefined ? '' : ` at ${there.file}:${there.line}`}; this one is ignored`,
  };
}
