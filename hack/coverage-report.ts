/** What the packet tests reach of the kernel programs, counted and put into words. Pure. */
import type { Block } from './coverage-counters.ts';

/** One object and what is known about its blocks, by offset. */
export interface ObjectCoverage {
  readonly object: string;
  readonly blocks: readonly Block[];
  /** Some configuration keeps them. */
  readonly kept: ReadonlySet<number>;
  readonly reached: ReadonlySet<number>;
}

export interface Count {
  readonly total: number;
  readonly reached: number;
}

/** A source line of which something was not reached. */
export interface MissedLine {
  readonly line: number;
  /** In no program at all. */
  readonly never: boolean;
  /** Where it was not, as `object/function`. A line is inlined into many. */
  readonly missedIn: readonly string[];
}

export interface CoverageReport {
  readonly blocks: Count;
  readonly lines: Count;
  /** Programs, and the functions that they call. */
  readonly functions: readonly { readonly object: string; readonly function: string; readonly blocks: Count }[];
  readonly files: readonly {
    readonly file: string;
    readonly blocks: Count;
    readonly lines: Count;
    readonly missed: readonly MissedLine[];
  }[];
}

interface Place extends Block {
  readonly object: string;
  readonly reached: boolean;
}

/** Counts blocks that are kept; what ran was kept, whatever was found about it. */
export function coverageReport(objects: readonly ObjectCoverage[]): CoverageReport {
  const places = objects.flatMap(({ object, blocks, kept, reached }): Place[] =>
    blocks
      .filter(({ offset }) => kept.has(offset) || reached.has(offset))
      .map((block) => ({ ...block, object, reached: reached.has(block.offset) })),
  );
  const functions = Map.groupBy(places, (place) => `${place.object}/${place.function}`);
  const files = Map.groupBy(places, ({ file }) => file);
  const fileReports = [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([file, own]) => {
      const lines = [...Map.groupBy(own, ({ line }) => line)].sort(([a], [b]) => a - b);
      return {
        file,
        blocks: count(own),
        lines: count(lines.map(([, copies]) => ({ reached: copies.some(({ reached }) => reached) }))),
        missed: lines.flatMap(([line, copies]) => missedLine(line, copies)),
      };
    });
  return {
    blocks: count(places),
    lines: sum(fileReports.map(({ lines }) => lines)),
    functions: [...functions.values()].map((own) => ({
      object: own[0]!.object,
      function: own[0]!.function,
      blocks: count(own),
    })),
    files: fileReports,
  };
}

function count(things: readonly { readonly reached: boolean }[]): Count {
  return { total: things.length, reached: things.filter(({ reached }) => reached).length };
}

function sum(counts: readonly Count[]): Count {
  return counts.reduce((a, b) => ({ total: a.total + b.total, reached: a.reached + b.reached }), {
    total: 0,
    reached: 0,
  });
}

function missedLine(line: number, copies: readonly Place[]): MissedLine[] {
  const missed = copies.filter(({ reached }) => !reached);
  if (missed.length === 0) return [];
  const missedIn = [...new Set(missed.map((place) => `${place.object}/${place.function}`))].sort();
  return [{ line, never: missed.length === copies.length, missedIn }];
}

/** The figures as Markdown tables. */
export function coverageTables({ blocks, lines, functions, files }: CoverageReport): string {
  const programs = functions.map((row) => `| ${row.object} | ${row.function} | ${cells(row.blocks)} |`);
  const sources = files.map((row) => `| ${row.file} | ${cells(row.blocks)} | ${cells(row.lines)} |`);
  return `| object | function | blocks | reached | % |
| --- | --- | ---: | ---: | ---: |
${programs.join('\n')}
| **all** | | ${cells(blocks)} |

| source | blocks | reached | % | lines | reached | % |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
${sources.join('\n')}
| **all** | ${cells(blocks)} | ${cells(lines)} |
`;
}

const cells = ({ total, reached }: Count): string => `${total} | ${reached} | ${percent({ total, reached })}`;

/** Rounded down: only all of it is 100. */
export function percent({ total, reached }: Count): string {
  return (Math.floor((reached / total) * 1000) / 10).toFixed(1);
}

/** The lines that no program reached, each with its text. */
export function neverReached({ files }: CoverageReport, source: (file: string) => readonly string[]): string {
  return files
    .flatMap(({ file, missed }) =>
      missed.filter(({ never }) => never).map(({ line }) => `${file}:${line}: ${source(file)[line - 1]?.trim() ?? ''}`),
    )
    .join('\n');
}
