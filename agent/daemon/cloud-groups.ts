/** Groups of a cloud that policies name (`toGroups`), each filled like a CIDR group. */
import { errorText } from '../model/errors.ts';
import { formatCidr, type Cidr } from '../model/address.ts';
import type { PolicyBatch } from '../policy/contract.ts';
import { cloudGroupName } from '../policy/selector.ts';
import type { Rule } from '../policy/rule.ts';

/** What a policy says under `aws`. */
export interface CloudGroup {
  readonly region?: string;
  /** Any of them. */
  readonly securityGroupsIds?: readonly string[];
  /** Any of them. */
  readonly securityGroupsNames?: readonly string[];
  /** All of them. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Knows which prefixes belong to a group: a file, or the API of a cloud. */
export interface CloudGroupResolver {
  /** Prefixes of the group at present; undefined when nothing fits it. What was in force stays when it rejects. */
  resolve(group: CloudGroup): Promise<readonly Cidr[] | undefined>;
  /** Calls back whenever answers may have changed, until disposed of. */
  watch(onChange: () => void): Disposable;
}

type GroupChange = NonNullable<PolicyBatch['cidrGroups']>[number];

/** The groups that rules name now, and what the resolver said of them. */
export class CloudGroups {
  readonly #resolver: CloudGroupResolver | undefined;
  readonly #warn: (message: string) => void;
  /** Prefixes in force, as text, by name of the group. */
  readonly #known = new Map<string, string>();
  #stale = false;

  /** @param resolver absent: every group is empty. */
  constructor(resolver: CloudGroupResolver | undefined, warn: (message: string) => void) {
    this.#resolver = resolver;
    this.#warn = warn;
  }

  /** Somebody can say what is in a group. */
  get isResolved(): boolean {
    return this.#resolver !== undefined;
  }

  /** The next {@link follow} asks for every group again. */
  invalidate(): void {
    this.#stale = true;
  }

  /** Changes that bring the groups which `rules` name to what the resolver says now. */
  async follow(rules: Iterable<readonly Rule[]>): Promise<readonly GroupChange[]> {
    const wanted = groupsIn(rules);
    const again = this.#stale;
    this.#stale = false;
    const changes: GroupChange[] = [...this.#known.keys()]
      .filter((name) => !wanted.has(name))
      .map((name) => ({ name, group: undefined }));
    for (const { name } of changes) this.#known.delete(name);
    for (const [name, group] of wanted) {
      if (this.#known.has(name) && !again) continue;
      const cidrs = await this.#resolve(name, group);
      const text = cidrs?.map(formatCidr).join(' ');
      if (cidrs === undefined || text === undefined || text === this.#known.get(name)) continue;
      this.#known.set(name, text);
      changes.push({ name, group: { name, labels: [], cidrs } });
    }
    return changes;
  }

  async #resolve(name: string, group: CloudGroup): Promise<readonly Cidr[] | undefined> {
    if (this.#resolver === undefined) return [];
    try {
      const found = await this.#resolver.resolve(group);
      if (found === undefined) this.#warn(`${name} is empty: the resolver knows nothing that fits it`);
      return found ?? [];
    } catch (error) {
      this.#warn(`${name} cannot be resolved, what was in force stays: ${errorText(error)}`);
      return undefined;
    }
  }
}

function groupsIn(policies: Iterable<readonly Rule[]>): ReadonlyMap<string, CloudGroup> {
  const found = new Map<string, CloudGroup>();
  for (const rules of policies)
    for (const { stanzas } of rules)
      for (const { peers = [] } of stanzas)
        for (const peer of peers) if (peer.kind === 'awsGroup') found.set(cloudGroupName(peer.group), peer.group);
  return found;
}
