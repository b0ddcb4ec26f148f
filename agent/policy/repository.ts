/** The policies in force, by object, and which of them select an identity. */
import { LABEL } from '../model/labels.ts';
import { AnchorIndex, type Filing } from './anchors.ts';
import type { IdentityRecord } from './identities.ts';
import type { Subject } from './l4policy.ts';
import { TIER_INDEX } from './precedence.ts';
import type { Rule } from './rule.ts';
import { labelTerm, selects, type Term } from './term.ts';

/** A rule with its place in the order of decision. */
interface Stored {
  readonly rule: Rule;
  readonly term: Term;
  readonly index: number;
}

interface StoredObject {
  readonly rules: readonly Rule[];
  readonly filed: readonly { readonly stored: Stored; readonly filing: Filing<Stored> }[];
}

export class PolicyRepository {
  readonly #objects = new Map<string, StoredObject>();
  readonly #subjects = new AnchorIndex<Stored>();
  #revision = 0;

  get revision(): number {
    return this.#revision;
  }

  keys(): IterableIterator<string> {
    return this.#objects.keys();
  }

  /** Every rule in force. */
  rules(): readonly Rule[] {
    return Array.from(this.#objects.values(), ({ rules }) => rules).flat();
  }

  objects(): ReadonlyMap<string, readonly Rule[]> {
    return new Map(Array.from(this.#objects, ([key, { rules }]) => [key, rules]));
  }

  /** Replaces all rules of an object; undefined takes it away. Gives the rules that went. */
  replace(key: string, rules: readonly Rule[] | undefined): readonly Rule[] {
    const former = this.#objects.get(key);
    if (former !== undefined) for (const { stored, filing } of former.filed) this.#subjects.remove(stored, filing);
    if (rules === undefined) this.#objects.delete(key);
    else this.#objects.set(key, { rules, filed: rules.map((rule, index) => this.#file(rule, index)) });
    return former?.rules ?? [];
  }

  nextRevision(): void {
    this.#revision++;
  }

  #file(rule: Rule, index: number): StoredObject['filed'][number] {
    const stored = { rule, term: labelTerm(rule.subject.selector.requirements), index };
    return { stored, filing: this.#subjects.add(stored, [stored.term]) };
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

/** Among equals, what is clusterwide comes before what lies in a namespace; then by name. */
function inOrder({ rule: a, index: i }: Stored, { rule: b, index: j }: Stored): number {
  return (
    TIER_INDEX[a.tier] - TIER_INDEX[b.tier] ||
    a.priority - b.priority ||
    KIND_ORDER[a.origin.kind] - KIND_ORDER[b.origin.kind] ||
    compareText(a.origin.namespace, b.origin.namespace) ||
    compareText(a.origin.name, b.origin.name) ||
    i - j
  );
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
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
