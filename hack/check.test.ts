/** The checks of `npm run check` must notice: each is shown a violation, planted in a copy of the tree. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectFiles } from './project-files.ts';

const root = path.resolve(import.meta.dirname, '..');

describe('a planted violation fails', { timeout: 300_000 }, () => {
  let copy = '';
  before(() => {
    copy = mkdtempSync(path.join(os.tmpdir(), 'weir-check-'));
    for (const file of projectFiles(root, [''])) {
      mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
      cpSync(path.join(root, file), path.join(copy, file));
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
    // The checks ask git which files belong to the project.
    assert.equal(run('git', 'init', '--quiet').status, 0);
  });
  after(() => rmSync(copy, { recursive: true, force: true }));

  function run(command: string, ...args: string[]): { readonly status: number | null; readonly output: string } {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd: copy, encoding: 'utf8' });
    return { status, output: stdout + stderr };
  }

  /** One of the checks of `npm run check`, by its name. */
  const check = (name: string): ReturnType<typeof run> => run(process.execPath, 'hack/check.ts', name);

  function plant(file: string, text: string): void {
    writeFileSync(path.join(copy, file), text);
  }

  test('the layer check', () => {
    const clean = check('layers');
    assert.equal(clean.status, 0, clean.output);
    plant('agent/model/planted.ts', "export { type Rule } from '../policy/rule.ts';\n");
    const { status, output } = check('layers');
    assert.equal(status, 1);
    assert.match(output, /^agent\/model\/planted\.ts:1: agent\/model may not import agent\/policy\/rule\.ts$/m);
    rmSync(path.join(copy, 'agent/model/planted.ts'));
  });

  test('the linter', () => {
    const good = 'export const one = (): Promise<number> => Promise.resolve(1);\n';
    plant('agent/model/good.ts', good);
    plant('agent/model/bad.ts', `${good}one();\nexport const two = (x: any): unknown => x;\n`);
    const words = ['--max-warnings', '0', 'agent/model/good.ts', 'agent/model/bad.ts'];
    const { status, output } = run(process.execPath, path.join(root, 'node_modules/eslint/bin/eslint.js'), ...words);
    assert.equal(status, 1, output);
    assert.match(output, /agent\/model\/bad\.ts\n +2:1 .*no-floating-promises/);
    assert.match(output, /3:\d+ .*no-explicit-any/);
    assert.doesNotMatch(output, /good\.ts/);
    for (const name of ['good', 'bad']) rmSync(path.join(copy, `agent/model/${name}.ts`));
  });

  test('the check of generated files', () => {
    // Edited by hand.
    const file = path.join(copy, 'bpf/gen/drops.ts');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, `${text}// edited by hand\n`);
    // The other way round: the layout changed, and what is generated from it did not.
    const header = readFileSync(path.join(copy, 'bpf/lib/types.h'), 'utf8');
    const changed = header.replace('__u16  rev_nat;', '__be16 rev_nat;');
    assert.notEqual(changed, header);
    plant('bpf/lib/types.h', changed);
    const { status, output } = check('generated files');
    assert.equal(status, 1, output);
    assert.match(output, /bpf\/gen\/drops\.ts/);
    assert.match(output, /bpf\/gen\/structs\.ts/);
    assert.doesNotMatch(output, /bpf\/gen\/maps\.ts/);
    writeFileSync(file, text);
    plant('bpf/lib/types.h', header);
  });

  test('the check of the documentation', () => {
    appendFileSync(path.join(copy, 'docs/contributing.md'), '\n[gone](no-such-page.md)\n');
    const layers = readFileSync(path.join(copy, 'hack/layers.ts'), 'utf8');
    plant(
      'hack/layers.ts',
      layers.replace("{ room: 'agent/model', may: [] }", "{ room: 'agent/model', may: ['bpf/gen'] }"),
    );
    const { status, output } = check('docs');
    assert.equal(status, 1);
    assert.match(output, /^docs\/contributing\.md:\d+: no-such-page\.md leads to no file$/m);
    assert.match(output, /^README\.md:1: is out of date/m);
    plant('hack/layers.ts', layers);
  });
});
