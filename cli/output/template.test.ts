import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../fault.ts';
import { formatData, parseOutputFormat } from './format.ts';

const DATA = {
  items: [
    { id: 1, name: 'a', labels: { 'app.kubernetes.io/name': 'web', 'plain-key': 'x' }, ports: [80, 443] },
    { id: 2, name: 'b', labels: {}, ports: [] },
  ],
};

const render = (template: string, data: unknown = DATA): Promise<string> =>
  formatData(data, parseOutputFormat(`jsonpath=${template}`));

describe('jsonpath templates, as kubectl has them', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['{.items[0].id}', '1\n'],
    ['.items[0].id', '1\n'],
    ['{$.items[0].id}', '1\n'],
    ['{.items[*].name}', 'a b\n'],
    ['{.items[-1].name}', 'b\n'],
    ['{.items[0:1].name}', 'a\n'],
    ['{.items[?(@.name=="b")].id}', '2\n'],
    ['{.items[0].labels.app\\.kubernetes\\.io/name}', 'web\n'],
    ["{.items[0].labels['app.kubernetes.io/name']}", 'web\n'],
    ['{.items[0].labels.plain-key}', 'x\n'],
    ['{.items[0].ports}', '[80,443]\n'],
    ['{.items[0].ports[1]}', '443\n'],
    ['{..name}', 'a b\n'],
    ['{.nothing.here}', ''],
    ['name={.items[0].name} id={.items[0].id}', 'name=a id=1\n'],
    ['{"brace: }"}{.items[0].id}', 'brace: }1\n'],
    ['{range .items[*]}{.id}{"\\t"}{.name}{"\\n"}{end}', '1\ta\n2\tb\n'],
    ['{range .items[*]}{.id}:{range .ports[*]}{@},{end}{";"}{end}', '1:80,443,;2:;\n'],
  ];
  for (const [template, expected] of cases) {
    test(template, async () => assert.equal(await render(template), expected));
  }

  test('a bare list answers to both forms', async () => {
    assert.equal(await render('{.items[1].id}', DATA.items), '2\n');
    assert.equal(await render('{[1].id}', DATA.items), '2\n');
    assert.equal(await render('{[*].id}', DATA.items), '1 2\n');
  });

  for (const bad of ['{.a', '{range .items[*]}{.id}', '{.id}{end}', '{"open}']) {
    test(`${bad} is refused`, () => assert.throws(() => parseOutputFormat(`jsonpath=${bad}`), UsageError));
  }

  test('a filter cannot run code', async () => {
    const escape = '{[?(@.constructor.constructor("globalThis.weirEscaped = 1")())]}';
    await render(escape, [{ id: 1 }]).catch(() => undefined);
    assert.equal((globalThis as { weirEscaped?: number }).weirEscaped, undefined);
  });

  test('text without expressions comes through', async () => {
    const text = fc.string().filter((s) => s.trim() !== '' && !/[{}]/.test(s));
    await fc.assert(
      fc.asyncProperty(text, async (before) => {
        const printed = await render(`${before}{.items[0].id}`);
        assert.equal(printed, `${before}1\n`);
      }),
    );
  });
});

test('json and yaml hold the whole model', async () => {
  assert.deepEqual(JSON.parse(await formatData(DATA, parseOutputFormat('json'))), DATA);
  const { parse } = await import('yaml');
  assert.deepEqual(parse(await formatData(DATA, parseOutputFormat('yaml'))), DATA);
});
