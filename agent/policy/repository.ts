/** The policies in force, by object, and which of them select an identity. */
import { LABEL } from '../model/labels.ts';
import { AnchorIndex, type Filing } from './anchors.ts';
import type { IdentityRecord } from './identities.ts';
import type { Subject } from './l4policy.ts';
import { sorting, type Pace } from './pace.ts';
import { TIER_INDEX } from './precedence.ts';
import type { Rule } from './rule.ts';
import { labelTerm, selects, type Term } from './term.ts';

/** A rule with its place in the order of decision. */
interface Stored {
  readonly rule: Rule;
  readonly index: number;
}

interface StoredObject {
  readonly rules: readonly Rule[];
  readonly filings: readonly Filing<Stored>[];
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
    if (former !== undefined) for (const filing of former.filings) this.#subjects.remove(filing);
    if (rules === undefined) this.#objects.delete(key);
    else this.#objects.set(key, { rules, filings: rules.map((rule, index) => this.#file(rule, index)) });
    return former?.rules ?? [];
  }

  nextRevision(): void {
    this.#revision++;
  }

  #file(rule: Rule, index: number): Filing<Stored> {
    return this.#subjects.add({ rule, index }, [subjectTerm(rule)]);
  }

  /** Rules that select the identity, in order of decision: tier, priority, then by name. In slices. */
  *selecting(record: IdentityRecord, pace: Pace): Generator<void, readonly Rule[], void> {
    const found = new Set<Stored>();
    const host = isHost(record);
    this.#subjects.candidates(record, (filed) => {
      if (isAbout(filed.item.rule, host) && selects(filed, record)) found.add(filed.item);
    });
    if (pace.due(2 * found.size)) yield;
    return (yield* sorting([...found], inOrder, pace)).map(({ rule }) => rule);
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

function subjectTerm({ subject }: Rule): Term {
  return labelTerm(subject.selector.requirements);
}

/** Only rules for nodes are about the host, and they about nothing else (S25). */
function isAbout({ subject }: Rule, host: boolean): boolean {
  return (subject.kind === 'node') === host;
}

/** Rules that were just changed, to be asked many times whom they are about. */
export class RuleSet {
  readonly #rules = new AnchorIndex<Rule>();

  constructor(rules: Iterable<Rule>) {
    for (const rule of rules) this.#rules.add(rule, [subjectTerm(rule)]);
  }

  /** Whether some rule selects the identity. */
  selects(record: IdentityRecord): boolean {
    let found = false;
    const host = isHost(record);
    this.#rules.candidates(record, (filed) => {
      found ||= isAbout(filed.item, host) && selects(filed, record);
    });
    return found;
  }
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
