import assert from 'node:assert/strict';
import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { WeirError } from '../model/errors.ts';
import { resourceName, type ResourceEvent } from '../model/resource.ts';
import { formatIssue, type ManifestIssue } from './manifest-issue.ts';
import { ManifestSource, type Watch } from './manifest-source.ts';

const pod = (name: string, app = 'web'): string =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n  labels: {app: ${app}}\n`;

/** A source on a directory of its own, whose events and issues a test can wait for. */
class Watched {
  readonly events: string[] = [];
  issues: readonly ManifestIssue[] = [];
  readonly directory: string;
  readonly source: ManifestSource;
  #wake: () => void = () => undefined;

  constructor(directory: string, watch?: Watch) {
    this.directory = directory;
    this.source = new ManifestSource({
      directory,
      quietMs: 20,
      // Only inotify may bring changes, or the test fails by its time limit.
      rescanMs: 3_600_000,
      ...(watch === undefined ? {} : { watch }),
      onIssues: (issues) => {
        this.issues = issues;
        this.#wake();
      },
    });
  }

  static async create(t: TestContext, files: Readonly<Record<string, string>> = {}): Promise<Watched> {
    const directory = await mkdtemp(path.join(os.tmpdir(), 'weir-manifests-'));
    const watched = new Watched(directory);
    t.after(async () => {
      await watched.source.stop();
      await rm(directory, { recursive: true, force: true });
    });
    for (const [name, text] of Object.entries(files)) await watched.write(name, text);
    await watched.start();
    return watched;
  }

  async start(): Promise<void> {
    await this.source.start((event) => {
      this.events.push(describeEvent(event));
      this.#wake();
    });
  }

  path(name: string): string {
    return path.join(this.directory, name);
  }

  async write(name: string, text: string): Promise<void> {
    await mkdir(path.dirname(this.path(name)), { recursive: true });
    await writeFile(this.path(name), text);
  }

  /** Waits until the events from number `from` on are exactly `expected`. */
  async expect(from: number, ...expected: string[]): Promise<void> {
    await this.until(() => this.events.length >= from + expected.length);
    assert.deepEqual(this.events.slice(from), expected);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  issueTexts(): string[] {
    return this.issues.map((issue) => `${issue.severity} ${formatIssue(issue).replaceAll(`${this.directory}/`, '')}`);
  }
}

function describeEvent(event: ResourceEvent): string {
  if (event.type === 'synced') return 'synced';
  const labels = (event.resource.object['metadata'] as { labels?: Record<string, string> }).labels;
  return `${event.type} ${resourceName(event.resource)} ${labels?.['app'] ?? ''}`.trimEnd();
}

const limit = { timeout: 240_000 };

describe('a manifest directory', limit, () => {
  test('delivers what is there, recursively and in order, then synced', async (t) => {
    const w = await Watched.create(t, {
      'b.yaml': pod('b'),
      'deep/er/a.yml': pod('a'),
      'ns.json': JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }),
      'notes.txt': 'not a manifest',
      '.hidden.yaml': pod('hidden'),
    });
    await w.expect(0, 'upsert Namespace shop', 'upsert Pod default/a web', 'upsert Pod default/b web', 'synced');
  });

  test('a directory that is not there is a clear error', async () => {
    const source = new ManifestSource({ directory: '/nonexistent/weir' });
    await assert.rejects(
      source.start(() => undefined),
      (e) => e instanceof WeirError && e.code === 'CONFIG_INVALID' && e.describe().includes('/nonexistent/weir'),
    );
  });

  test('change, new file, new directory, delete', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    await w.write('a.yaml', pod('a', 'db'));
    await w.expect(2, 'upsert Pod default/a db');
    await w.write('sub/b.yaml', pod('b'));
    await w.expect(3, 'upsert Pod default/b web');
    await w.write('sub/b.yaml', pod('b', 'db'));
    await w.expect(4, 'upsert Pod default/b db');
    await rm(w.path('a.yaml'));
    await w.expect(5, 'delete Pod default/a web'.replace('web', 'db'));
    await rm(w.path('sub'), { recursive: true });
    await w.expect(6, 'delete Pod default/b db');
  });

  test('an atomic save is one event, a rename of a file is none', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    await w.write('.a.yaml.swp', pod('a', 'db'));
    await rename(w.path('.a.yaml.swp'), w.path('a.yaml'));
    await w.expect(2, 'upsert Pod default/a db');
    await rename(w.path('a.yaml'), w.path('z.yaml'));
    await w.write('b.yaml', pod('b'));
    await w.expect(3, 'upsert Pod default/b web');
  });

  test('a directory that is replaced by another of the same name is still watched', async (t) => {
    const w = await Watched.create(t, { 'sub/a.yaml': pod('a') });
    await w.write('.next/a.yaml', pod('a', 'db'));
    await rename(w.path('sub'), w.path('.old'));
    await rename(w.path('.next'), w.path('sub'));
    await w.expect(2, 'upsert Pod default/a db');
    await w.write('sub/a.yaml', pod('a', 'cache'));
    await w.expect(3, 'upsert Pod default/a cache');
  });

  test('a partial write: the rest arrives later', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    const text = pod('a', 'db');
    await w.write('a.yaml', text.slice(0, text.length - 4));
    await w.until(() => w.issues.length > 0);
    await appendFile(w.path('a.yaml'), text.slice(text.length - 4));
    await w.expect(2, 'upsert Pod default/a db');
    assert.deepEqual(w.issues, []);
  });
});

describe('what is bad leaves in force what was there', limit, () => {
  test('bad YAML, then good again', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a'), 'b.yaml': pod('b') });
    await w.write('a.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: A}\n');
    await w.until(() => w.issues.length > 0);
    assert.match(w.issueTexts()[0]!, /^error a\.yaml:3:12: Pod A: metadata\.name: "A" must consist of/);
    await w.write('b.yaml', pod('b', 'db'));
    await w.expect(3, 'upsert Pod default/b db');
    await w.write('a.yaml', pod('a', 'db'));
    await w.expect(4, 'upsert Pod default/a db');
    assert.deepEqual(w.issues, []);
  });

  test('a file with one bad document is not taken in at all', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    await w.write('a.yaml', `${pod('a', 'db')}---\n${pod('b')}---\nkind: Pod\n`);
    await w.until(() => w.issues.length > 0);
    await w.write('z.yaml', pod('z'));
    await w.expect(2, 'upsert Pod default/z web');
  });

  test('an emptied file', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    await w.write('a.yaml', '');
    await w.until(() => w.issues.length > 0);
    assert.deepEqual(w.issueTexts(), [
      'error a.yaml: is empty; its objects stay in force until the file is removed or filled',
    ]);
    assert.deepEqual(w.events, ['upsert Pod default/a web', 'synced']);
  });

  test('a link that leads nowhere', async (t) => {
    const w = await Watched.create(t, { '.target': pod('a') });
    await symlink('.target', w.path('a.yaml'));
    await w.expect(1, 'upsert Pod default/a web');
    await rm(w.path('.target'));
    await w.until(() => w.issues.length > 0);
    assert.match(w.issueTexts()[0]!, /^error a\.yaml: cannot be read: ENOENT/);
    await rm(w.path('a.yaml'));
    await w.expect(2, 'delete Pod default/a web');
    assert.deepEqual(w.issues, []);
  });

  test('the directory itself goes away and comes back', async (t) => {
    const w = await Watched.create(t, { 'a.yaml': pod('a') });
    await rename(w.directory, `${w.directory}.away`);
    await w.until(() => w.issues.length > 0);
    assert.match(w.issues[0]!.message, /^cannot be read, what it held stays in force: ENOENT/);
    await mkdir(w.directory);
    await rm(`${w.directory}.away`, { recursive: true });
    await w.expect(2, 'delete Pod default/a web');
    await w.write('b.yaml', pod('b'));
    await w.expect(3, 'upsert Pod default/b web');
  });

  test('a duplicate: the first file wins until it goes', async (t) => {
    const w = await Watched.create(t, { 'b.yaml': pod('a', 'second'), 'a.yaml': pod('a', 'first') });
    await w.expect(0, 'upsert Pod default/a first', 'synced');
    assert.match(
      w.issueTexts()[0]!,
      /^warning b\.yaml:4:3: Pod default\/a: metadata\.name: is defined already at a\.yaml:4; this one is ignored$/,
    );
    await rm(w.path('a.yaml'));
    await w.expect(2, 'upsert Pod default/a second');
    assert.deepEqual(w.issues, []);
  });
});

test('a mounted ConfigMap changes as a whole', limit, async (t) => {
  const w = await Watched.create(t);
  const publish = async (version: string, files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, text] of Object.entries(files)) await w.write(`..${version}/${name}`, text);
    await symlink(`..${version}`, w.path('..data_tmp'));
    await rename(w.path('..data_tmp'), w.path('..data'));
  };
  await publish('2026_1', { 'a.yaml': pod('a'), 'b.yaml': pod('b') });
  await symlink('..data/a.yaml', w.path('a.yaml'));
  await symlink('..data/b.yaml', w.path('b.yaml'));
  await w.expect(1, 'upsert Pod default/a web', 'upsert Pod default/b web');
  await publish('2026_2', { 'a.yaml': pod('a', 'db'), 'b.yaml': pod('b', 'db') });
  await w.expect(3, 'upsert Pod default/a db', 'upsert Pod default/b db');
  await rm(w.path('..2026_1'), { recursive: true });
  await publish('2026_3', { 'a.yaml': pod('a', 'cache'), 'b.yaml': pod('b', 'db') });
  await w.expect(5, 'upsert Pod default/a cache');
  assert.deepEqual(w.issues, []);
});

test('without inotify the directory is polled', limit, async (t) => {
  const w = new Watched(await mkdtemp(path.join(os.tmpdir(), 'weir-manifests-')), () => {
    throw new Error('ENOSPC: no watches left');
  });
  t.after(async () => {
    await w.source.stop();
    await rm(w.directory, { recursive: true });
  });
  await w.start();
  assert.match(w.issues[0]!.message, /cannot be watched and is read every 1000 ms instead: ENOSPC/);
  await w.write('a.yaml', pod('a'));
  await w.expect(1, 'upsert Pod default/a web');
});

test('after stop nothing is delivered', limit, async (t) => {
  const w = await Watched.create(t);
  await w.source.stop();
  await w.write('a.yaml', pod('a'));
  const fresh = new Watched(w.directory);
  await fresh.source.start(() => undefined);
  await fresh.source.stop();
  assert.deepEqual(w.events, ['synced']);
});
