/** Label and field selectors as queries carry them. */
import { badRequest } from './status.ts';
import { valueAt, type KubeObject } from './object.ts';

export type Selector = (object: KubeObject) => boolean;

const KEY = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

/** `a=b,c!=d,e in (f,g),h,!i` → a predicate over labels. */
export function labelSelector(text: string): ((labels: Readonly<Record<string, string>>) => boolean) | undefined {
  if (text.trim() === '') return undefined;
  const requirements = splitOutsideParentheses(text).map(requirement);
  return (labels) => requirements.every((holds) => holds(labels));
}

type Requirement = (labels: Readonly<Record<string, string>>) => boolean;

function requirement(text: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(text);
  if (set !== null) {
    const key = labelKey(set[1]!);
    const values = new Set(set[3]!.split(',').map((value) => value.trim()));
    if (set[2] === 'in') return (labels) => labels[key] !== undefined && values.has(labels[key]);
    return (labels) => labels[key] === undefined || !values.has(labels[key]);
  }
  const order = /^(\S+?)\s*(>|<)\s*(-?\d+)$/.exec(text);
  if (order !== null) {
    const [key, limit] = [labelKey(order[1]!), Number(order[3])];
    return (labels) => {
      const value = Number(labels[key]);
      return labels[key] !== undefined && (order[2] === '>' ? value > limit : value < limit);
    };
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(text);
  if (equality !== null) {
    const [key, value] = [labelKey(equality[1]!), equality[3]!];
    return equality[2] === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  if (text.startsWith('!')) {
    const key = labelKey(text.slice(1).trim());
    return (labels) => labels[key] === undefined;
  }
  const key = labelKey(text);
  return (labels) => labels[key] !== undefined;
}

function labelKey(text: string): string {
  if (!KEY.test(text))
    throw badRequest(`unable to parse requirement: <nil>: Invalid value: "${text}": not a label key`);
  return text;
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let [depth, start] = [0, 0];
  for (let i = 0; i <= text.length; i++) {
    if (i === text.length || (text[i] === ',' && depth === 0)) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    } else if (text[i] === '(') depth++;
    else if (text[i] === ')') depth--;
  }
  return parts.filter((part) => part !== '');
}

/** `metadata.name=a,status.phase!=Running` → a predicate, of the fields that the resource lets be selected by. */
export function fieldSelector(text: string, selectable: readonly string[]): Selector | undefined {
  if (text.trim() === '') return undefined;
  const known = new Set(['metadata.name', 'metadata.namespace', ...selectable]);
  const requirements = text
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(part);
      if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
      const [field, value] = [match[1]!, unescape(match[3]!)];
      if (!known.has(field)) throw badRequest(`field label not supported: ${field}`);
      const path = field.split('.');
      const wanted = match[2] !== '!=';
      return (object: KubeObject): boolean => (asText(valueAt(object, path)) === value) === wanted;
    });
  return (object) => requirements.every((holds) => holds(object));
}

/** The one name that a field selector asks for, which RBAC then treats as if it stood in the path. */
export function selectedName(text: string): string | undefined {
  const names = text.split(',').flatMap((part) => /^metadata\.name==?(.+)$/.exec(part)?.[1] ?? []);
  return names.length === 1 ? names[0] : undefined;
}

const unescape = (text: string): string => text.replace(/\\([\\,=])/g, '$1');

function asText(value: unknown): string {
  return value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);
}
