/** What is wrong with the policies in files of manifests, all of it at once. Pure. */
import { parseManifest } from '../../agent/k8s/parse-manifest.ts';
import { resourceName, type Resource } from '../../agent/model/resource.ts';
import {
  decodePolicy,
  DEFAULT_DECODE_OPTIONS,
  isPolicyKind,
  nearestPolicyKind,
  type DecodeOptions,
} from '../../agent/policy/api/index.ts';

/** A file as it was read. */
export interface ManifestText {
  readonly file: string;
  readonly text: string;
}

/** One thing a person should know about a file. */
export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  readonly column: number;
  /** `Kind namespace/name`; absent when the object is not known. */
  readonly object?: string;
  /** Path of the field at fault. */
  readonly field?: string;
  /** The offending value as JSON. */
  readonly value?: string;
  readonly message: string;
  readonly remedy?: string;
}

export interface ValidationReport {
  readonly policies: { readonly valid: number; readonly invalid: number };
  /** In the order of the files, and of lines within a file. */
  readonly findings: readonly Finding[];
}

/** Whether a reviewer may wave the files through. */
export function isClean(report: ValidationReport): boolean {
  return report.findings.every((finding) => finding.severity === 'warning');
}

/** Validates every policy of the files; other kinds are left alone. */
export function validateManifests(
  files: readonly ManifestText[],
  options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
): ValidationReport {
  const findings: Finding[] = [];
  const count = { valid: 0, invalid: 0 };
  const seen = new Map<string, Finding>();
  for (const { file, text } of files) {
    const { found, issues } = parseManifest(file, text);
    const here: Finding[] = issues.flatMap((issue) => manifestFinding(issue));
    for (const resource of found.filter(({ kind }) => isPolicyKind(kind))) {
      const faults = policyFindings(resource, file, options);
      count[faults.length === 0 ? 'valid' : 'invalid']++;
      here.push(...faults, ...duplicateFindings(resource, file, seen));
    }
    findings.push(...here.sort((a, b) => a.line - b.line || a.column - b.column));
  }
  return { policies: count, findings };
}

/** A kind that Weir does not know is no concern of ours, unless it is nearly the name of a policy. */
function manifestFinding(issue: ReturnType<typeof parseManifest>['issues'][number]): readonly Finding[] {
  const placed = { ...issue, line: issue.line ?? 1, column: issue.column ?? 1 };
  if (issue.severity === 'error') return [placed];
  const kind = /^kind (\S+) of/.exec(issue.message)?.[1] ?? '';
  const nearest = nearestPolicyKind(kind);
  if (nearest === undefined) return [];
  return [{ ...placed, severity: 'error', message: `unknown kind ${kind}`, remedy: `did you mean ${nearest}?` }];
}

function policyFindings(resource: Resource, file: string, options: DecodeOptions): readonly Finding[] {
  const { errors = [] } = decodePolicy(resource.object, options);
  return errors.map(({ field, value, message, remedy }) => ({
    severity: 'error',
    ...positionOf(resource, field, file),
    object: resourceName(resource),
    ...(field === '' ? {} : { field }),
    ...(value === undefined ? {} : { value }),
    message,
    remedy,
  }));
}

/** Of two objects of one name only the last would count. */
function duplicateFindings(resource: Resource, file: string, seen: Map<string, Finding>): readonly Finding[] {
  const object = resourceName(resource);
  const first = seen.get(object);
  const here: Finding = { severity: 'warning', ...positionOf(resource, 'metadata.name', file), object, message: '' };
  if (first === undefined) {
    seen.set(object, here);
    return [];
  }
  const message = `is also defined at ${first.file}:${first.line}:${first.column}`;
  return [{ ...here, field: 'metadata.name', message, remedy: 'give one of them another name' }];
}

function positionOf(resource: Resource, field: string, file: string): Pick<Finding, 'file' | 'line' | 'column'> {
  return resource.positionOf?.(field) ?? { file, line: 1, column: 1 };
}

/** The report for people: a line a finding, as compilers write them, and a summary. */
export function describeReport({ policies, findings }: ValidationReport): string {
  const lines = findings.map(describeFinding);
  const total = policies.valid + policies.invalid;
  const summary = total === 0 ? 'no policies found' : `${policies.valid} of ${total} policies valid`;
  return `${[...lines, summary].join('\n')}\n`;
}

function describeFinding({ severity, file, line, column, object, field, value, message, remedy }: Finding): string {
  const where = field === undefined ? undefined : value === undefined ? field : `${field} = ${value}`;
  const parts = [`${file}:${line}:${column}`, severity, object, where, message].filter((part) => part !== undefined);
  return parts.join(': ') + (remedy === undefined ? '' : ` (${remedy})`);
}
