import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { WeirError } from '../model/errors.ts';
import { JsonFile, writeAtomically } from './json-file.ts';

const decodeNumber = (json: unknown): number => {
  if (typeof json !== 'number') throw new Error('not a number');
  return json;
};

describe('a JSON document on disk', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'weir-state-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  test('is absent, then what was written, then absent again', async () => {
    const file = new JsonFile(join(dir, 'deep', 'n.json'), decodeNumber);
    assert.deepEqual(await file.read(0), { kind: 'absent' });
    await file.write(7);
    assert.deepEqual(await file.read(0), { kind: 'value', value: 7 });
    assert.deepEqual(await readdir(join(dir, 'deep')), ['n.json'], 'no temporary file is left');
    await file.remove();
    await file.remove();
    assert.deepEqual(await file.read(0), { kind: 'absent' });
  });

  test('ends as the last of many concurrent writes, in few writes', async () => {
    const file = new JsonFile(join(dir, 'n.json'), decodeNumber);
    await Promise.all(Array.from({ length: 100 }, (_, i) => file.write(i)));
    assert.deepEqual(await file.read(0), { kind: 'value', value: 99 });
  });

  for (const [name, text] of [
    ['cut short', '{"a":'],
    ['empty', ''],
    ['of another shape', '"text"'],
  ] as const) {
    test(`is set aside and reported when it is ${name}`, async () => {
      const path = join(dir, 'n.json');
      await writeFile(path, text);
      const outcome = await new JsonFile(path, decodeNumber).read(1234);
      assert.equal(outcome.kind, 'corrupt');
      assert.equal(outcome.error.code, 'STATE_CORRUPT');
      assert.deepEqual(await readdir(dir), ['n.json.corrupt-1234']);
      assert.equal(await readFile(outcome.setAside, 'utf8'), text);
    });
  }

  test('keeps the old document when it cannot be written', async () => {
    const path = join(dir, 'n.json');
    await writeAtomically(path, '1\n');
    const blocked = join(path, 'below-a-file');
    await assert.rejects(
      writeAtomically(blocked, '2\n'),
      (error) => error instanceof WeirError && error.code === 'STATE_WRITE_FAILED' && error.object === blocked,
    );
    assert.equal(await readFile(path, 'utf8'), '1\n');
  });
});
