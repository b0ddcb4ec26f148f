import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { CacheEntry } from '../../fqdn/namecache.ts';
import { entriesOf, recordsOf, type NameRecord } from '../../fqdn/record.ts';
import { formatAddress, parseAddress } from '../../model/address.ts';
import { endpointId } from '../../model/endpoint.ts';
import { NameFile } from './name-file.ts';

const record = (name: string, address: string, until = 1000): NameRecord => {
  return { endpoint: endpointId(1), name, addresses: [parseAddress(address)], until, zombie: false };
};

const texts = (entries: readonly CacheEntry[]): readonly string[] =>
  entries.map(({ name, address, until }) => `${name} ${formatAddress(address)} ${until}`);

describe('the file of names', () => {
  let dir: string;
  let path: string;
  let held: CacheEntry[];
  const faults: unknown[] = [];
  const file = (): NameFile =>
    new NameFile(
      path,
      () => held,
      (error) => faults.push(error),
    );

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'weir-names-'));
    path = join(dir, 'state', 'names.jsonl');
    held = [];
    faults.length = 0;
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('holds what was added, with nobody having said goodbye', () => {
    assert.deepEqual(file().read(0), { entries: [] });
    file().add([record('a.', '192.0.2.1'), record('b.', '2001:db8::1')]);
    assert.deepEqual(texts(file().read(0).entries), ['a. 192.0.2.1 1000', 'b. 2001:db8::1 1000']);
  });

  test('is written anew when it has grown, and loses nothing that comes meanwhile', async () => {
    const names = file();
    const filler = Array.from({ length: 2000 }, (_, i) => record(`${'x'.repeat(200)}${i}.`, '192.0.2.1'));
    while ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) < 3 << 20) names.add(filler);
    held = entriesOf(filler);
    const before = statSync(path).size;
    const rewritten = names.rewrite();
    names.add([record('late.', '192.0.2.2')]);
    await rewritten;
    names.add([record('later.', '192.0.2.3')]);
    await names.close();
    assert.ok(statSync(path).size < before);
    const { entries } = file().read(0);
    assert.deepEqual(texts(entries.slice(-2)), ['late. 192.0.2.2 1000', 'later. 192.0.2.3 1000']);
    assert.equal([...recordsOf(entries)].length, 2002);
    assert.deepEqual(faults, []);
  });

  test('that cannot be written is told once, and what was there stays', async () => {
    file().add([record('a.', '192.0.2.1')]);
    const before = readFileSync(path, 'utf8');
    path = join(path, 'not-a-folder');
    const names = file();
    names.add([record('b.', '192.0.2.2')]);
    names.add([record('c.', '192.0.2.2')]);
    await names.rewrite();
    assert.equal(faults.length, 1);
    assert.match(String(faults[0]), /EEXIST|ENOTDIR/);
    assert.equal(readFileSync(join(dir, 'state', 'names.jsonl'), 'utf8'), before);
  });
});
