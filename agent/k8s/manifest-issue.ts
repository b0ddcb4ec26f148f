/** Something wrong in a manifest, placed where a person can find it. */
export interface ManifestIssue {
  /**
   * `error`: the file is not taken in; what it held before stays in force. `warning`: the rest of the file is in force,
   * the thing named is not.
   */
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** 1-based; absent when the file as a whole is at fault. */
  readonly line?: number;
  /** 1-based. */
  readonly column?: number;
  /** The object at fault, such as `Pod default/web`, as far as it could be named. */
  readonly object?: string;
  /** Path of the field at fault inside the object, such as `metadata.name`. */
  readonly field?: string;
  readonly message: string;
}

/** `file:line:column: object: field: message`, the form that editors and terminals make clickable. */
export function formatIssue(issue: ManifestIssue): string {
  const place = [issue.file, issue.line, issue.column].filter((part) => part !== undefined).join(':');
  return [place, issue.object, issue.field, issue.message].filter((part) => part !== undefined).join(': ');
}

/** The issues of `after` that `before` did not have, so that each is logged once. */
export function newIssues(before: readonly ManifestIssue[], after: readonly ManifestIssue[]): ManifestIssue[] {
  const known = new Set(before.map(formatIssue));
  return after.filter((issue) => !known.has(formatIssue(issue)));
}
