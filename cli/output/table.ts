/** Columns of text, as Go's tabwriter sets them for cilium-dbg: at least 5 wide, 3 spaces between. Pure. */

export type Style = 'good' | 'bad' | 'warn' | 'dim' | 'bold';

/** Wraps a text in the colours of a style, or leaves it alone. */
export type Paint = (style: Style, text: string) => string;

export interface StyledCell {
  readonly text: string;
  readonly style: Style;
}

export type Cell = string | StyledCell;
export type Row = readonly Cell[];

const MIN_WIDTH = 5;
const PADDING = 3;

export const plain: Paint = (_style, text) => text;

export interface TableOptions {
  /** The last cell of a row is free text: it widens no column. */
  readonly openEnded?: boolean;
}

/** Text of a table, one line a row, without trailing spaces; empty for no rows. */
export function renderTable(rows: readonly Row[], paint: Paint = plain, options: TableOptions = {}): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) {
      if (options.openEnded === true && i === row.length - 1) continue;
      widths[i] = Math.max(widths[i] ?? MIN_WIDTH, textOf(cell).length + PADDING);
    }
  }
  return rows.map((row) => `${renderRow(row, widths, paint)}\n`).join('');
}

function renderRow(row: Row, widths: readonly number[], paint: Paint): string {
  const last = row.findLastIndex((cell) => textOf(cell) !== '');
  return row
    .slice(0, last + 1)
    .map((cell, i) => {
      const text = textOf(cell);
      const painted = typeof cell === 'string' ? text : paint(cell.style, text);
      return i === last ? painted : painted + ' '.repeat(widths[i]! - text.length);
    })
    .join('');
}

function textOf(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text;
}

export const styled = (style: Style, text: string): StyledCell => ({ style, text });
