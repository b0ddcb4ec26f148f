import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderTable, styled } from './table.ts';

test('columns are as wide as their widest cell and three spaces', () => {
  const text = renderTable([
    ['A', 'LONG HEADING', 'C'],
    ['1', 'x', 'last'],
    ['', 'second line'],
  ]);
  assert.equal(text, 'A    LONG HEADING   C\n1    x              last\n     second line\n');
});

test('colours take no room', () => {
  const rows = [
    ['STATE', 'ID'],
    [styled('good', 'ok'), '1'],
  ];
  assert.equal(
    renderTable(rows, (style, text) => `<${style}>${text}</>`),
    'STATE   ID\n<good>ok</>      1\n',
  );
});

test('free text at the end of a row widens nothing', () => {
  const rows = [
    ['Key:', 'Ok', 'a message'],
    ['Long key:', 'a very long text'],
  ];
  assert.equal(
    renderTable(rows, undefined, { openEnded: true }),
    'Key:        Ok   a message\nLong key:   a very long text\n',
  );
});

test('no rows, no text', () => assert.equal(renderTable([]), ''));
