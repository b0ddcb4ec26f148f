/** The matrix as a table: a row a pair, a column a policy, a sign a way. */
import { POLICIES } from './policies.ts';
import type { Outcome, Way } from './trial.ts';

const SIGNS = { ok: '+', drop: 'x' } as const;

export function printMatrix(title: string, ways: readonly Way[], outcomes: readonly Outcome[]): string {
  const names = [...new Set(outcomes.map(({ pair }) => pair.name))];
  const width = Math.max(...names.map((name) => name.length));
  const columns = POLICIES.filter((policy) => outcomes.some((outcome) => outcome.policy === policy));
  const cell = Math.max(ways.length, ...columns.map(({ name }) => name.length)) + 2;
  const rows = names.map((name) => {
    const own = outcomes.filter(({ pair }) => pair.name === name);
    const cells = columns.map((policy) =>
      ways
        .map((way) => sign(own.find((o) => o.policy === policy && o.way === way)))
        .join('')
        .padEnd(cell),
    );
    return `${name.padEnd(width + 2)}${cells.join('')}`.trimEnd();
  });
  const head = `${''.padEnd(width + 2)}${columns.map(({ name }) => name.padEnd(cell)).join('')}`.trimEnd();
  const legend = `+ passes, x dropped and explained, ! not as expected; ${ways.map((w) => `${w.protocol}${w.family}`).join(' ')}`;
  return [`${title}: ${outcomes.length} cells`, legend, head, ...rows].join('\n');
}

function sign(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '.';
  return outcome.fault === '' ? SIGNS[outcome.expected] : '!';
}
