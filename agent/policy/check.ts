/** Compares answers: what `weir policy evaluate --check` reports. */
import { evaluate } from './evaluate.ts';
import { l7Lines } from './l7answer.ts';
import type { Answer, Result, ScenarioLine, SubjectAnswer, Verdicts } from './scenario.ts';

/** One difference between what was expected and what the engine says. */
export interface Mismatch {
  readonly scenario: string;
  readonly subject?: number;
  /** 1-based; absent before the first update. */
  readonly update?: number;
  readonly direction?: 'ingress' | 'egress';
  /** `TCP/80` */
  readonly port?: string;
  readonly peer?: number;
  readonly expected: string;
  readonly got: string;
}

/** Evaluates the scenario and compares with its answer; nothing to compare without one. */
export function check({ scenario, answer }: ScenarioLine): readonly Mismatch[] {
  return answer === undefined ? [] : compareAnswers(scenario.name, answer, evaluate(scenario));
}

/** One line for a person. */
export function mismatchText({ scenario, subject, update, direction, port, peer, expected, got }: Mismatch): string {
  const where = [
    scenario,
    subject === undefined ? undefined : `subject ${subject}`,
    update === undefined ? undefined : `after update ${update}`,
    direction,
    port,
    peer === undefined ? undefined : `peer ${peer}`,
  ].filter((part) => part !== undefined);
  return `${where.join(' ')}: expected ${expected}, got ${got}`;
}

export function compareAnswers(scenario: string, expected: Answer, got: Answer): readonly Mismatch[] {
  const out: Mismatch[] = [];
  for (const [i, policy] of expected.policies.entries()) {
    const found = got.policies[i];
    if (found?.accepted === policy.accepted) continue;
    const text = (accepted: boolean, errors: readonly string[] = []): string =>
      `policy ${i} ${accepted ? 'accepted' : `rejected: ${errors.join('; ')}`}`;
    out.push({
      scenario,
      expected: text(policy.accepted, policy.errors),
      got: text(found?.accepted ?? false, found?.errors),
    });
  }
  const subjects = new Map(got.subjects.map((subject) => [subject.id, subject]));
  for (const subject of expected.subjects) {
    out.push(...compareSubjects(scenario, expected.peers, subject, subjects.get(subject.id)));
  }
  return out;
}

function compareSubjects(
  scenario: string,
  peers: readonly number[],
  expected: SubjectAnswer,
  got: SubjectAnswer | undefined,
): readonly Mismatch[] {
  const place = { scenario, subject: expected.id };
  if (got === undefined) return [{ ...place, expected: 'an answer', got: 'none' }];
  if (expected.error !== undefined || got.error !== undefined) {
    if (expected.error !== undefined && got.error !== undefined) return [];
    const text = (error: string | undefined): string => (error === undefined ? 'no error' : `error: ${error}`);
    return [{ ...place, expected: text(expected.error), got: text(got.error) }];
  }
  const out: Mismatch[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    const field = `${direction}Enforced` as const;
    if (expected[field] === got[field]) continue;
    out.push({
      ...place,
      direction,
      expected: `enforced ${String(expected[field])}`,
      got: `enforced ${String(got[field])}`,
    });
  }
  out.push(...compareVerdicts(place, peers, expected, got), ...compareL7(place, expected, got));
  for (const [i, update] of (expected.updates ?? []).entries()) {
    if (update.skip !== undefined) continue;
    const found = got.updates?.[i];
    const at = { ...place, update: i + 1 };
    if (found === undefined) out.push({ ...at, expected: 'an answer', got: 'none' });
    else out.push(...compareVerdicts(at, update.peers ?? peers, update, found));
  }
  return out;
}

function compareL7(
  place: Pick<Mismatch, 'scenario' | 'subject'>,
  expected: SubjectAnswer,
  got: SubjectAnswer,
): readonly Mismatch[] {
  // An answer without the section says nothing of it: that of large scenarios was left out.
  if (expected.l7 === undefined) return [];
  const [want, have] = [l7Lines(expected.l7), l7Lines(got.l7 ?? [])];
  return [
    ...want.filter((line) => !have.includes(line)).map((line) => ({ ...place, expected: line, got: 'nothing' })),
    ...have.filter((line) => !want.includes(line)).map((line) => ({ ...place, expected: 'nothing', got: line })),
  ];
}

function compareVerdicts(
  place: Pick<Mismatch, 'scenario' | 'subject' | 'update'>,
  peers: readonly number[],
  expected: Partial<Verdicts>,
  got: Partial<Verdicts>,
): readonly Mismatch[] {
  const out: Mismatch[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    for (const [port, row] of Object.entries(expected.matrix?.[direction] ?? {})) {
      const found = got.matrix?.[direction][port] ?? '';
      for (const [column, peer] of peers.entries()) {
        const want = expected.results?.[row[column] ?? ''];
        const have = got.results?.[found[column] ?? ''];
        if (want !== undefined && have !== undefined && agree(want, have)) continue;
        out.push({ ...place, direction, port, peer, expected: resultText(want), got: resultText(have) });
      }
    }
  }
  return out;
}

function agree(want: Result, have: Result): boolean {
  const redirects = want.redirect === 'proxy' ? have.redirect !== undefined : want.redirect === have.redirect;
  const audited = (want.audited === undefined) === (have.audited === undefined);
  return want.verdict === have.verdict && redirects && want.auth === have.auth && audited;
}

function resultText(result: Result | undefined): string {
  if (result === undefined) return 'nothing';
  const parts = [
    result.verdict,
    result.redirect === undefined ? '' : ` to ${result.redirect}`,
    result.auth === undefined ? '' : ` with authentication ${result.auth}`,
    result.rules === undefined ? '' : ` by ${result.rules.join(', ')}`,
    result.audited === undefined ? '' : `, audited by ${result.audited.join(', ')}`,
  ];
  return parts.join('');
}
