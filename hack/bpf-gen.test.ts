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
    await edited(
      'bpf/lib/types.h',
      (text) => text.replace('__u16  rev_nat;', '__be16 rev_nat;'),
      async () => {
        const structs = (await generateBpf(copy)).get('structs.ts')!;
        assert.match(structs, /revNat: view\.getUint16\(at \+ \d+, false\)/);
      },
    );
    await edited(
      'bpf/lib/maps.h',
      (text) => text.replace('max_entries, 524288', 'max_entries, 1000'),
      async () => assert.match((await generateBpf(copy)).get('maps.ts')!, /weir_ipcache[^}]*maxEntries: 1000,/),
    );
    await edited(
      'bpf/lib/drop_reasons.h',
      (text) => text.replace('"Policy denied"', '"Policy said no"'),
      async () => assert.match((await generateBpf(copy)).get('drops.ts')!, /Policy said no/),
    );
    await edited(
      'bpf/lib/config.h',
      (text) => text.replace('CONFIG(__u32, other_seconds', 'CONFIG(__u64, other_seconds'),
      async () => assert.match((await generateBpf(copy)).get('config.ts')!, /readonly otherSeconds: bigint;/),
    );
  });

  test('cannot come from a layout whose size is not the one that is asserted', async () => {
    await edited(
      'bpf/lib/types.h',
      (text) => text.replace('struct ct_entry {\n', 'struct ct_entry {\n\t__u64 more;\n'),
      async () => assert.rejects(generateBpf(copy), /static.assert|static_assert/i),
    );
  });
});
