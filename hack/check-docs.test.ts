import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { exampleFaults, linkFaults, manifestFaults } from './check-docs.ts';
import { renderLayers, withLayerTable } from './layer-table.ts';
import { anchors, codeBlocks, links } from './markdown.ts';

const PAGE = `# A page

See [here](#words-and-names) and [there](https://example.org/x), not \`[code](gone.md)\`.

- in a list:
  \`\`\`yaml
  apiVersion: v1
  kind: Pod
  metadata: { name: Bad }
  \`\`\`

## Words, and Names
`;

test('markdown: blocks, links and anchors', () => {
  assert.deepEqual(codeBlocks(PAGE), [
    { language: 'yaml', info: '', line: 7, text: 'apiVersion: v1\nkind: Pod\nmetadata: { name: Bad }\n' },
  ]);
  assert.deepEqual(
    links(PAGE).map(({ line, target }) => `${line} ${target}`),
    ['3 #words-and-names', '3 https://example.org/x'],
  );
  assert.deepEqual([...anchors(PAGE)], ['a-page', 'words-and-names']);
});

test('an invalid example is placed in its page', () => {
  assert.match(exampleFaults('p.md', PAGE)[0]!, /^p\.md:9: Pod Bad: metadata\.name: "Bad" must consist of/);
});

test('policies and typed objects are looked into, other YAML is not', () => {
  const policy = 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec:\n  ingres: []\n';
  assert.match(
    manifestFaults('p.yaml', 11, policy).join('\n'),
    /^p\.yaml:15: CiliumNetworkPolicy default\/a: spec\.ingres: /m,
  );
  const pod = 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: maybe}\n';
  assert.match(
    manifestFaults('p.yaml', 1, pod)[0]!,
    /^p\.yaml:4: Pod default\/a: spec\.hostNetwork: must be true or false/,
  );
  assert.deepEqual(exampleFaults('p.md', '```yaml\nlog-level: debug\n```\n'), []);
});

test('an example that shows a mistake must have one', () => {
  const bad = '```yaml invalid\nkind: Pod\n```\n';
  assert.deepEqual(exampleFaults('p.md', bad), []);
  const good = bad.replace('kind: Pod', 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}');
  assert.match(exampleFaults('p.md', good)[0]!, /^p\.md:2: the example is marked as invalid/);
});

test('links to files and headings', (t) => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'weir-docs-'));
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(path.join(root, 'other.md'), '# Title\n');
  const page = '[a](other.md) [b](other.md#title)\n[c](gone.md) [d](other.md#gone) [e](#gone)\n';
  writeFileSync(path.join(root, 'page.md'), page);
  assert.deepEqual(linkFaults(root, 'page.md', page), [
    'page.md:2: gone.md leads to no file',
    'page.md:2: other.md has no heading #gone',
    'page.md:2: page.md has no heading #gone',
  ]);
});

test('the layer table stands between its markers', () => {
  const layers = [
    { room: 'a', may: [] },
    { room: 'b', may: ['a'] },
    { room: 'c', may: ['a'] },
    { room: 'hack', may: ['*'] },
  ];
  assert.equal(
    renderLayers(layers),
    '| room | may import |\n|---|---|\n| `a` | nothing of the project |\n| `b`, `c` | `a` |\n| `hack` | anything; nothing imports it |\n',
  );
  const page = 'x\n<!-- layers:begin -->\nold\n<!-- layers:end -->\ny\n';
  const updated = withLayerTable(page, layers)!;
  assert.match(updated, /^x\n<!-- layers:begin -->\n\n\| room[^]*\n\n<!-- layers:end -->\ny\n$/);
  assert.equal(withLayerTable(updated, layers), updated);
  assert.equal(withLayerTable('no markers', layers), undefined);
});
