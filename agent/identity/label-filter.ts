import { WeirError } from '../model/errors.ts';
import type { Label } from '../model/labels.ts';

/**
 * The rules that say which labels make an identity when none are configured (S3): an exclamation mark ignores, text
 * before the first colon names a source (none: any), the rest is a pattern matched from the start of the key.
 */
export const DEFAULT_LABEL_RULES: readonly string[] = [
  'reserved:.*',
  ':io\\.kubernetes\\.pod\\.namespace',
  ':io\\.cilium\\.k8s\\.namespace\\.labels',
  ':app\\.kubernetes\\.io',
  ':io\\.cilium\\.k8s\\.policy\\.cluster',
  ':io\\.cilium\\.k8s\\.policy\\.serviceaccount',
  '!:io\\.kubernetes',
  '!:kubernetes\\.io',
  '!:statefulset\\.kubernetes\\.io/pod-name',
  '!:apps\\.kubernetes\\.io/pod-index',
  '!:batch\\.kubernetes\\.io/job-completion-index',
  '!:batch\\.kubernetes\\.io/controller-uid',
  '!:.*beta\\.kubernetes\\.io',
  '!:k8s\\.io',
  '!:pod-template-generation',
  '!:pod-template-hash',
  '!:controller-revision-hash',
  '!:controller-uid',
  '!:annotation.*',
  '!:etcd_node',
  '!:topology\\.kubernetes\\.io',
];

/** A label set divided: what makes the identity, and what is only information. */
export interface FilteredLabels {
  readonly identity: readonly Label[];
  readonly information: readonly Label[];
}

interface FilterRule {
  readonly ignore: boolean;
  /** Empty: any source. */
  readonly source: string;
  readonly pattern: RegExp;
}

/** Decides which labels are relevant to identity (S3). */
export class LabelFilter {
  readonly #rules: readonly FilterRule[];
  /** True when the operator configured includes: then a label must match one of them. */
  readonly #allowList: boolean;

  /**
   * @param configured Rules of the operator, in the form of {@link DEFAULT_LABEL_RULES}. Includes among them replace the
   *   defaults' openness: only what matches is accepted. The defaults stay in force beneath.
   * @throws WeirError CONFIG_INVALID when a pattern is no regular expression.
   */
  constructor(configured: readonly string[] = []) {
    const own = configured.map(parseRule);
    this.#rules = [...DEFAULT_LABEL_RULES.map(parseRule), ...own];
    this.#allowList = own.some((rule) => !rule.ignore);
  }

  split(labels: Iterable<Label>): FilteredLabels {
    const identity: Label[] = [];
    const information: Label[] = [];
    for (const label of labels) (this.#accepts(label) ? identity : information).push(label);
    return { identity, information };
  }

  /** The longest include is weighed against the shortest ignore; a tie ignores (S3). */
  #accepts(label: Label): boolean {
    let included = 0;
    let ignored = 0;
    for (const rule of this.#rules) {
      if (rule.source !== '' && rule.source !== label.source) continue;
      const length = rule.pattern.exec(label.key)?.[0].length;
      if (length === undefined) continue;
      if (!rule.ignore) included = Math.max(included, length);
      else if (ignored === 0 || length < ignored) ignored = length;
    }
    return (!this.#allowList && ignored === 0) || included > ignored;
  }
}

function parseRule(text: string): FilterRule {
  const ignore = text.startsWith('!');
  const body = ignore ? text.slice(1) : text;
  const colon = body.indexOf(':');
  try {
    // Anchored: a pattern counts only where it matches from the start of the key.
    const pattern = new RegExp(`^(?:${body.slice(colon + 1)})`);
    return { ignore, source: colon < 0 ? '' : body.slice(0, colon), pattern };
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', `${JSON.stringify(text)} is not a label rule: its pattern does not compile`, {
      field: 'labels',
      cause,
    });
  }
}
