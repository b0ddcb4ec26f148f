/**
 * Kubernetes label selectors, and what Cilium adds to them: a key may name the source of the label (S19).
 *
 * A {@link SelectorDraft} keeps `matchLabels` apart from `matchExpressions`, because scoping a selector to a namespace
 * replaces the former and never the latter; {@link finishSelector} makes the canonical selector of it.
 */
import type { LabelSelector, Requirement } from '../rule.ts';
import { list, object, record, string, type Decoder } from './decode.ts';
import type { Reading } from './reading.ts';

export interface SelectorDraft {
  /** By key with its source; each must have exactly this value. */
  readonly labels: Map<string, string>;
  readonly expressions: Requirement[];
}

export interface LabelSelectorOptions {
  /** Source of keys that name none: `any`, `k8s`, `cidrgroup`, `node`. */
  readonly source: string;
  /** Put before every key, as for labels of a namespace. */
  readonly keyPrefix?: string;
  /** Keys and values are checked by the kind's schema only. */
  readonly schemaOnly?: boolean;
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

const rawSelector = object({
  matchLabels: record(string),
  matchExpressions: list(object({ key: string, operator: string, values: list(string) })),
});

type RawExpression = NonNullable<NonNullable<ReturnType<typeof rawSelector>>['matchExpressions']>[number];

export function labelSelector(options: LabelSelectorOptions): Decoder<SelectorDraft> {
  return (value, reading) => {
    const raw = rawSelector(value, reading);
    if (raw === null) return null;
    const draft: SelectorDraft = { labels: new Map(), expressions: [] };
    const check = options.schemaOnly !== true || reading.strict;
    for (const [key, label] of raw.matchLabels ?? []) {
      if (check) {
        checkKey(key, ['matchLabels', key], reading);
        checkValue(label, ['matchLabels', key], reading);
      }
      draft.labels.set(qualifiedKey(key, options), label);
    }
    for (const [i, expression] of (raw.matchExpressions ?? []).entries()) {
      if (check) checkExpression(expression, ['matchExpressions', i], reading);
      draft.expressions.push(requirement(expression, options));
    }
    return draft;
  };
}

/** A selector for which null is the empty selector, where the schema does not forbid it. */
export function nullableSelector(options: LabelSelectorOptions): Decoder<SelectorDraft> {
  return Object.assign(labelSelector(options), { acceptsNull: true as const });
}

export function hasKey(draft: SelectorDraft, test: (key: string) => boolean): boolean {
  for (const key of draft.labels.keys()) if (test(key)) return true;
  return draft.expressions.some((expression) => test(expression.key));
}

/** The canonical selector: sorted by key, operator and values, without repeats. */
export function finishSelector({ labels, expressions }: SelectorDraft): LabelSelector {
  const requirements: Requirement[] = [...expressions];
  for (const [key, value] of labels) requirements.push({ key, operator: 'In', values: [value] });
  if (requirements.length < 2) return { requirements };
  requirements.sort(compareRequirements);
  return { requirements: requirements.filter((r, i) => i === 0 || compareRequirements(r, requirements[i - 1]!) !== 0) };
}

/** A selector that nothing matches. */
export const SELECT_NOTHING: LabelSelector = {
  requirements: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'In', values: [] }],
};

function qualifiedKey(key: string, { source, keyPrefix = '' }: LabelSelectorOptions): string {
  const colon = key.indexOf(':');
  if (colon < 0) return `${source}:${keyPrefix}${key}`;
  // `unspec` says that the author gave no source: it matches every source (S19).
  return key.startsWith('unspec:') ? `any${key.slice(colon)}` : key;
}

function requirement({ key = '', operator, values = [] }: RawExpression, options: LabelSelectorOptions): Requirement {
  const known = OPERATORS.find((name) => name === operator);
  const needsValues = known !== 'Exists' && known !== 'DoesNotExist';
  // An operator that only the schema knows to be wrong selects nothing: fail closed.
  return {
    key: qualifiedKey(key, options),
    operator: known ?? 'In',
    values: needsValues && known !== undefined ? [...new Set(values)].sort() : [],
  };
}

function compareRequirements(a: Requirement, b: Requirement): number {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  if (a.operator !== b.operator) return a.operator < b.operator ? -1 : 1;
  const [x, y] = [a.values.join('\0'), b.values.join('\0')];
  return x === y ? 0 : x < y ? -1 : 1;
}

type Under = readonly (string | number)[];

function checkExpression(
  { key = '', operator = '', values = [] }: RawExpression,
  under: Under,
  reading: Reading,
): void {
  checkKey(key, [...under, 'key'], reading);
  if (operator === 'In' || operator === 'NotIn') {
    if (values.length === 0) {
      reading.issue(`operator ${operator} needs values`, {
        under: [...under, 'values'],
        remedy: 'list at least one value',
      });
    }
  } else if (operator === 'Exists' || operator === 'DoesNotExist') {
    if (values.length > 0) {
      reading.issue(`operator ${operator} takes no values`, {
        under: [...under, 'values'],
        value: values,
        remedy: 'remove the values, or use In or NotIn',
      });
    }
  } else {
    reading.at(under[0]!, () =>
      reading.at(under[1]!, () => reading.at('operator', () => reading.unknownName('operator', operator, OPERATORS))),
    );
  }
  for (const [i, value] of values.entries()) checkValue(value, [...under, 'values', i], reading);
}

const LABEL_NAME = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_PREFIX = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_SOURCE = /^[A-Za-z0-9]+$/;

function checkKey(key: string, under: Under, reading: Reading): void {
  const fault = keyFault(key);
  if (fault === undefined) return;
  reading.issue(`label key ${fault}`, {
    under,
    value: key,
    remedy: 'write [source:][prefix/]name, such as k8s:app or app',
  });
}

/** What is wrong with a label key, by the rules of Kubernetes' qualified names with an optional source before them. */
function keyFault(key: string): string | undefined {
  const parts = key.split(':');
  if (parts.length > 2) return 'may have one colon only, after the source of the label';
  if (parts.length === 2 && !LABEL_SOURCE.test(parts[0]!)) return 'has a source that is not letters and digits';
  const path = parts.at(-1)!.split('/');
  if (path.length > 2) return 'may have one slash only, after its prefix';
  const name = path.at(-1)!;
  if (path.length === 2) {
    if (path[0]!.length > 253) return 'has a prefix of more than 253 characters';
    if (!LABEL_PREFIX.test(path[0]!)) return 'has a prefix that is not a lower-case DNS name';
  }
  if (name === '') return 'has an empty name';
  if (name.length > 63) return 'has a name of more than 63 characters';
  if (!LABEL_NAME.test(name)) {
    return 'may only have letters, digits, - _ and . in its name, and begin and end with a letter or digit';
  }
  return undefined;
}

function checkValue(value: string, under: Under, reading: Reading): void {
  if (value === '' || (value.length <= 63 && LABEL_NAME.test(value))) return;
  const fault =
    value.length > 63
      ? 'has more than 63 characters'
      : 'may only have letters, digits, - _ and ., and begin and end with a letter or digit';
  reading.issue(`label value ${fault}`, { under, value, remedy: 'give a value that a Kubernetes label can have' });
}
