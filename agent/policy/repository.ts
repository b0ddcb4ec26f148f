/** The policies in force, by object, and which of them select an identity. */
import { LABEL } from '../model/labels.ts';
import { AnchorIndex } from './anchors.ts';
import type { IdentityRecord } from './identities.ts';
import type { Subject } from './l4policy.ts';
import { TIER_INDEX } from './precedence.ts';
import type { Rule } from './rule.ts';
import { labelTerm, selects, type Term } from './term.ts';

/** A rule with its place in the order of decision. */
interface Stored {
  readonly rule: Rule;
  readonly term: Term;
  /** Of the object, for the order among equals: what is clusterwide comes before what lies in a namespace. */
  readonly name: string;
  readonly index: number;
}

export class PolicyRepository {
  readonly #objects = new Map<string, readonly Rule[]>();
  readonly #stored = new Map<string, readonly Stored[]>();
  readonly #subjects = new AnchorIndex<Stored>();
  #revision = 0;

  get revision(): number {
    return this.#revision;
  }

  get objects(): ReadonlyMap<string, readonly Rule[]> {
    return this.#objects;
  }

  /** Replaces all rules of an object; undefined takes it away. Gives the rules that came and those that went. */
  replace(key: string, rules: readonly Rule[] | undefined): readonly Rule[] {
    const former = this.#objects.get(key) ?? [];
    for (const stored of this.#stored.get(key) ?? []) this.#subjects.remove(stored);
    if (rules === undefined) {
      this.#objects.delete(key);
      this.#stored.delete(key);
      return former;
    }
    const stored = rules.map((rule, index) => ({
      rule,
      term: labelTerm(rule.subject.selector.requirements),
      name: nameOf(rule),
      index,
    }));
    for (const item of stored) this.#subjects.add(item, [item.term]);
    this.#objects.set(key, rules);
    this.#stored.set(key, stored);
    return [...former, ...rules];
  }

  nextRevision(): void {
    this.#revision++;
  }

  /** Rules that select the identity, in order of decision: tier, priority, then by name. */
  selecting(record: IdentityRecord): readonly Rule[] {
    const found = new Set<Stored>();
    this.#subjects.candidates(record, (stored) => {
      if (!found.has(stored) && ruleSelects(stored.rule, record, stored.term)) found.add(stored);
    });
    return [...found].sort(inOrder).map(({ rule }) => rule);
  }
}

const KIND_ORDER = {
  CiliumClusterwideNetworkPolicy: 0,
  CiliumNetworkPolicy: 1,
  ClusterNetworkPolicy: 2,
  NetworkPolicy: 3,
} as const;

function nameOf({ origin }: Rule): string {
  return `${KIND_ORDER[origin.kind]}/${origin.namespace}/${origin.name}`;
}

function inOrder(a: Stored, b: Stored): number {
  return (
    TIER_INDEX[a.rule.tier] - TIER_INDEX[b.rule.tier] ||
    a.rule.priority - b.rule.priority ||
    (a.name < b.name ? -1 : a.name > b.name ? 1 : a.index - b.index)
  );
}

/** Whether the rule is about this identity. Only rules for nodes are about the host, and they about nothing else (S25). */
export function ruleSelects(rule: Rule, record: IdentityRecord, term?: Term): boolean {
  if ((rule.subject.kind === 'node') !== isHost(record)) return false;
  return selects(term ?? labelTerm(rule.subject.selector.requirements), record);
}

/** What of an identity decides how its policy is enforced. */
export function subjectOf(record: Pick<IdentityRecord, 'labels'>): Subject {
  const { labels } = record;
  return {
    isHost: isHost(record),
    isInit: labels.some(({ source, key }) => source === 'reserved' && key === 'init'),
    namespace: labels.find(({ source, key }) => source === 'k8s' && key === LABEL.podNamespace)?.value ?? '',
  };
}

function isHost({ labels }: Pick<IdentityRecord, 'labels'>): boolean {
  return labels.some(({ source, key }) => source === 'reserved' && key === 'host');
}
