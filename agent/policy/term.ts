/** Terms: what selectors are made of, with every key taken apart once. */
import type { Cidr } from '../model/address.ts';
import { formatCidr } from '../model/address.ts';
import type { Label } from '../model/labels.ts';
import { covers, prefixOfLabel } from './prefix.ts';
import type { Requirement } from './rule.ts';

/** A requirement (S20) ready to be tested. */
export interface Test {
  /** Empty for every source (S19). */
  readonly source: string;
  readonly key: string;
  readonly operator: Requirement['operator'];
  readonly values: readonly string[];
}

/** All parts must hold. */
export interface Term {
  readonly tests: readonly Test[];
  /** The identity's prefix lies in each of these … */
  readonly cidrs: readonly Cidr[];
  /** … and in none of these (S21). */
  readonly except: readonly Cidr[];
}

/** What a term looks at. */
export interface Labelled {
  readonly labels: readonly Label[];
  readonly cidrs: readonly Cidr[];
}

const NO_CIDRS: readonly Cidr[] = [];

export function term(tests: readonly Test[], cidrs = NO_CIDRS, except = NO_CIDRS): Term {
  return { tests, cidrs, except };
}

/** Requirements as a term; those on `cidr:` labels become prefixes, since a prefix also matches what lies in it (S21). */
export function labelTerm(requirements: readonly Requirement[]): Term {
  const tests = requirements.map(testOf);
  if (!tests.some(({ source }) => source === 'cidr')) return term(tests);
  const rest: Test[] = [];
  const cidrs: Cidr[] = [];
  const except: Cidr[] = [];
  for (const test of tests) {
    const prefix = prefixOfLabel({ ...test, value: '' });
    if (prefix === undefined) rest.push(test);
    else if (isPositive(test)) cidrs.push(prefix);
    else except.push(prefix);
  }
  return term(rest, cidrs, except);
}

/** `any`, and `unspec` in old objects, is every source (S19). */
export function testOf({ key: full, operator, values }: Requirement): Test {
  const colon = full.indexOf(':');
  const source = colon < 0 ? 'any' : full.slice(0, colon);
  const key = full.slice(colon + 1);
  return { source: source === 'any' || source === 'unspec' ? '' : one(source), key: one(key), operator, values };
}

/** Sources and keys, of which a cluster has few; bounded, should someone make them up. */
const TEXTS = new Map<string, string>();
const MAX_TEXTS = 4096;

/** One string for all that are equal, so that ten thousand tests of a key have one piece of memory to look at. */
function one(text: string): string {
  const known = TEXTS.get(text);
  if (known !== undefined) return known;
  if (TEXTS.size < MAX_TEXTS) TEXTS.set(text, text);
  return text;
}

export function exists(source: string, key: string): Test {
  return { source, key, operator: 'Exists', values: [] };
}

export function absent(source: string, key: string): Test {
  return { source, key, operator: 'DoesNotExist', values: [] };
}

export function equals(source: string, key: string, value: string): Test {
  return { source, key, operator: 'In', values: [value] };
}

/** Whether the test wants a label to be there, so that labels lead to what it selects. */
export function isPositive({ operator }: Test): boolean {
  return operator === 'In' || operator === 'Exists';
}

/** Whether something with these labels passes the test (S20). */
export function meets(labels: readonly Label[], { source, key, operator, values }: Test): boolean {
  for (const label of labels) {
    if (label.key !== key || (source !== '' && label.source !== source)) continue;
    if (operator === 'Exists') return true;
    if (operator === 'DoesNotExist') return false;
    if (values.includes(label.value)) return operator === 'In';
  }
  return operator === 'NotIn' || operator === 'DoesNotExist';
}

export function inPrefixes(subject: Labelled, { cidrs, except }: Term): boolean {
  for (const outer of cidrs) if (!subject.cidrs.some((inner) => covers(outer, inner))) return false;
  for (const outer of except) if (subject.cidrs.some((inner) => covers(outer, inner))) return false;
  return true;
}

/** Whether the term selects this. */
export function selects(wanted: Term, subject: Labelled): boolean {
  for (const test of wanted.tests) if (!meets(subject.labels, test)) return false;
  return inPrefixes(subject, wanted);
}

/** A term as people read it. */
export function termText({ tests, cidrs, except }: Term): string {
  const parts = [
    ...cidrs.map(formatCidr),
    ...tests.map(testText),
    ...(except.length === 0 ? [] : [`except ${except.map(formatCidr).join(', ')}`]),
  ];
  return parts.length === 0 ? 'all' : parts.join(' ');
}

/** A test as people read it. */
export function testText({ source, key: name, operator, values }: Test): string {
  const key = `${source === '' ? 'any' : source}:${name}`;
  if (operator === 'Exists') return key;
  if (operator === 'DoesNotExist') return `!${key}`;
  if (operator === 'In' && values.length === 1) return values[0] === '' ? `${key}=` : `${key}=${values[0]!}`;
  return `${key} ${operator} (${values.join(', ')})`;
}
