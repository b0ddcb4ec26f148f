/** Measures paths in turns, so that whatever else the machine does falls on all of them, and prints Markdown tables. */
import type { Measure } from './measures.ts';
import type { Path } from './path.ts';
import { ratio, ratioText } from './statistics.ts';
import { median } from './suite.ts';

/** Some measures on some paths. */
export interface Table {
  readonly measures: readonly Measure[];
  readonly paths: readonly Path[];
  /** Which path is divided by which. */
  readonly ratios: readonly (readonly [path: Path, baseline: Path])[];
  /** Behind the point; 2 when absent. */
  readonly ratioDigits?: number;
}

/**
 * Measures all tables in interleaved rounds, then prints them: medians, and medians of the ratios of each round with the
 * interval in which they lie with 95 % confidence.
 *
 * @param only measures whose name has this in it; all, when absent
 */
export function interleave(
  all: readonly Table[],
  { rounds, only = '' }: { readonly rounds: number; readonly only?: string | undefined },
  print: (line: string) => void,
): void {
  const tables = all.flatMap((table) => {
    const measures = table.measures.filter(({ rows }) => rows.some(({ name }) => name.includes(only)));
    return measures.length === 0 ? [] : [{ ...table, measures }];
  });
  const started = performance.now();
  const figures = tables.map(({ measures }) => measures.map(() => new Map<Path, (readonly number[])[]>()));
  for (let round = 0; round < rounds; round++) {
    for (const [t, { measures, paths }] of tables.entries()) {
      for (const [m, measure] of measures.entries()) {
        // The order alternates: what follows what is not always the same.
        for (const path of round % 2 === 0 ? paths : paths.toReversed()) {
          const taken = figures[t]![m]!;
          taken.set(path, [...(taken.get(path) ?? []), measure.read(path)]);
        }
      }
    }
    console.error(`round ${round + 1} of ${rounds}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
  }
  for (const [t, table] of tables.entries()) printTable(table, figures[t]!, print);
}

function printTable(
  { measures, paths, ratios, ratioDigits }: Table,
  figures: readonly ReadonlyMap<Path, readonly (readonly number[])[]>[],
  print: (line: string) => void,
): void {
  const names = [
    ...paths.map(({ name }) => name),
    ...ratios.map(([path, baseline]) => `${path.name}/${baseline.name}`),
  ];
  print('');
  print(`| | ${names.join(' | ')} |`);
  print(`|---|${'---|'.repeat(names.length)}`);
  for (const [m, { rows }] of measures.entries()) {
    for (const [r, { name, digits }] of rows.entries()) {
      const of = (path: Path): number[] => figures[m]!.get(path)!.map((taken) => taken[r]!);
      const cells = [
        ...paths.map((path) => median(of(path)).toFixed(digits)),
        ...ratios.map(([path, baseline]) => ratioText(ratio(of(path), of(baseline)), ratioDigits)),
      ];
      print(`| ${name} | ${cells.join(' | ')} |`);
    }
  }
}
