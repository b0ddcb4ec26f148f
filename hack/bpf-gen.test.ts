import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { generateBpf, staleFiles, writeGenerated } from './bpf-gen.ts';

const root = path.resolve(import.meta.dirname, '..');
let copy: string;
let wanted: Map<string, string>;

before(async () => {
  copy = await mkdtemp(path.join(tmpdir(), 'weir-gen-test-'));
  await cp(path.join(root, 'bpf'), path.join(copy, 'bpf'), { recursive: true });
  wanted = await generateBpf(copy);
});
after(() => rm(copy, { recursive: true }));

/** Changes a file of the copy for the length of `run`. */
async function edited(file: string, change: (text: string) => string, run: () => Promise<void>): Promise<void> {
  const target = path.join(copy, file);
  const text = await readFile(target, 'utf8');
  const changed = change(text);
  assert.notEqual(changed, text);
  await writeFile(target, changed);
  try {
    await run();
  } finally {
    await writeFile(target, text);
  }
}

describe('what is committed in bpf/gen', () => {
  test('is what the C says', async () => assert.deepEqual(await staleFiles(copy, wanted), new Map()));

  test('differs, with file and line, when somebody edits it', () =>
    edited(
      'bpf/gen/drops.ts',
      (text) => text.replace('DROP_POLICY_DENIED = 133', 'DROP_POLICY_DENIED = 134'),
      async () => {
        const text = wanted.get('drops.ts')!;
        const line = text.split('\n').findIndex((l) => l.includes('DROP_POLICY_DENIED = 133')) + 1;
        assert.deepEqual(await staleFiles(copy, wanted), new Map([['drops.ts', line]]));
        await writeGenerated(copy, wanted);
        assert.deepEqual(await staleFiles(copy, wanted), new Map());
      },
    ));

  test('follows the C: a field, a map, a drop reason, a config variable', async () => {
    const changes: readonly (readonly [file: string, from: string, to: string])[] = [
      ['types.h', '__u16  rev_nat;', '__be16 rev_nat;'],
      ['maps.h', 'max_entries, 524288', 'max_entries, 1000'],
      ['drop_reasons.h', '"Policy denied"', '"Policy said no"'],
      ['config.h', 'CONFIG(__u32, other_seconds', 'CONFIG(__u64, other_seconds'],
    ];
    // All at once: each generated file has its own, and to compile takes seconds.
    const generate = changes.reduceRight<() => Promise<void>>(
      (run, [file, from, to]) =>
        () =>
          edited(`bpf/lib/${file}`, (text) => text.replace(from, to), run),
      async () => {
        const generated = await generateBpf(copy);
        assert.match(generated.get('structs.ts')!, /revNat: view\.getUint16\(at \+ \d+, false\)/);
        assert.match(generated.get('maps.ts')!, /weir_ipcache[^}]*maxEntries: 1000,/);
        assert.match(generated.get('drops.ts')!, /Policy said no/);
        assert.match(generated.get('config.ts')!, /readonly otherSeconds: bigint;/);
      },
    );
    await generate();
  });

  test('cannot come from a layout whose size is not the one that is asserted', async () => {
    await edited(
      'bpf/lib/types.h',
      (text) => text.replace('struct ct_entry {\n', 'struct ct_entry {\n\t__u64 more;\n'),
      async () => assert.rejects(generateBpf(copy), /static.assert|static_assert/i),
    );
  });
});
