import type { SourcePosition } from '../../model/resource.ts';

/** One thing wrong with a policy object: what a reviewer needs to correct it without reading this program. */
export interface PolicyIssue {
  /** Path of the field at fault, such as `spec.ingress[0].toPorts[1].ports[0].port`; empty for the whole object. */
  readonly field: string;
  /** The offending value as JSON, shortened; undefined when the field is absent. */
  readonly value: string | undefined;
  readonly message: string;
  readonly remedy: string;
  /** The known field or value that the author most likely meant. */
  readonly nearest?: string;
}

/** One line for a person: position or object (empty for none), field, value, what is wrong, what to do. */
export function formatIssue(issue: PolicyIssue, where: string | SourcePosition): string {
  const prefix = typeof where === 'string' ? where : `${where.file}:${where.line}:${where.column}`;
  const field = issue.value === undefined ? issue.field : `${issue.field} = ${issue.value}`;
  return `${[prefix, field, issue.message].filter((part) => part !== '').join(': ')} (${issue.remedy})`;
}
