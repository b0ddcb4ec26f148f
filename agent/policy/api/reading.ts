import type { PolicyIssue } from './issue.ts';
import { nearestName } from './nearest.ts';
import { DEFAULT_DECODE_OPTIONS, type DecodeOptions } from './options.ts';
import { NO_SCOPE, type Scope } from './scope.ts';

type PathPart = string | number;

/** What a decoder gives for a value that it refused, having reported why. Absent is undefined; this is not absent. */
export type Refused = null;

/** What to say about a fault beyond its message. */
export interface IssueDetails {
  /** Further steps from the field being read to the field at fault. */
  readonly under?: readonly PathPart[];
  /** The offending value; leave out when the field is absent. */
  readonly value?: unknown;
  readonly remedy: string;
  readonly nearest?: string | undefined;
}

/**
 * One object being read: where in it we are, and everything found wrong so far. Decoders report here and go on, so that
 * a person sees all faults at once. The path is kept as parts: its text is only built for a fault.
 */
export class Reading {
  readonly options: DecodeOptions;
  /** The rule around the field being read; set by whoever decodes the rule. */
  scope: Scope = NO_SCOPE;
  readonly #issues: PolicyIssue[] = [];
  readonly #path: PathPart[] = [];

  constructor(options: DecodeOptions = DEFAULT_DECODE_OPTIONS) {
    this.options = options;
  }

  get issues(): readonly PolicyIssue[] {
    return this.#issues;
  }

  /** Whether faults of the schema alone count; see {@link DecodeOptions.schema}. */
  get strict(): boolean {
    return this.options.schema !== 'ignore';
  }

  /** Path of the field being read, such as `spec.ingress[0]`. */
  get field(): string {
    return formatPath(this.#path);
  }

  enter(part: PathPart): void {
    this.#path.push(part);
  }

  leave(): void {
    this.#path.pop();
  }

  /** Runs `read` with the path one step deeper. */
  at<T>(part: PathPart, read: () => T): T {
    this.#path.push(part);
    try {
      return read();
    } finally {
      this.#path.pop();
    }
  }

  issue(message: string, details: IssueDetails): Refused {
    const { under = [], remedy, nearest } = details;
    const field = formatPath([...this.#path, ...under]);
    const value = details.value === undefined ? undefined : shorten(details.value);
    this.#issues.push({ field, value, message, remedy, ...(nearest === undefined ? {} : { nearest }) });
    return null;
  }

  /** A fault that only the schema knows of: silent when the schema was checked elsewhere. */
  schemaIssue(message: string, details: IssueDetails): Refused {
    if (this.strict) this.issue(message, details);
    return null;
  }

  wrongType(value: unknown, expected: string): Refused {
    return this.issue(`must be ${expected}, not ${typeName(value)}`, { value, remedy: `write ${expected}` });
  }

  unknownField(name: string, value: unknown, known: readonly string[]): void {
    if (!this.strict) return;
    const nearest = nearestName(name, known);
    const remedy = nearest === undefined ? `known fields are ${known.join(', ')}` : `did you mean ${nearest}?`;
    this.issue('unknown field', { under: [name], value, remedy, nearest });
  }

  /** A value outside a closed set of names. */
  unknownName(what: string, value: string, known: readonly string[]): Refused {
    const nearest = nearestName(value, known);
    const remedy = nearest === undefined ? `use one of ${known.join(', ')}` : `did you mean ${nearest}?`;
    return this.issue(`unknown ${what} ${JSON.stringify(value)}`, { value, remedy, nearest });
  }
}

/** `spec.ingress[0].matchLabels["a.b/c"]`: plain names bare, everything else quoted. */
export function formatPath(parts: readonly PathPart[]): string {
  let text = '';
  for (const part of parts) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (!/^[A-Za-z_][\w-]*$/.test(part)) text += `[${JSON.stringify(part)}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

export function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
