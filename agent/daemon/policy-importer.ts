import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../model/clock.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { resourceName, type Resource, type ResourceStatus } from '../model/resource.ts';
import { decodePolicy, formatIssue, POLICY_KINDS, type DecodeOptions } from '../policy/api/index.ts';
import type { CidrGroup, PolicyEngine, PolicyService } from '../policy/contract.ts';
import type { Rule } from '../policy/rule.ts';
import type { CloudGroups } from './cloud-groups.ts';
import type { Names } from './names/names.ts';
import { policyGaps } from './policy-gaps.ts';
import type { PolicyMemory } from './policy-memory.ts';
import type { PolicyMetrics } from './policy-metrics.ts';
import type { PrefixIdentities } from './prefix-identities.ts';

/** Objects that the engine takes in between two turns of the event loop: some two milliseconds. */
const CHUNK = 500;

export interface PolicyImporterOptions {
  readonly engine: PolicyEngine;
  readonly decode: DecodeOptions;
  readonly prefixes: PrefixIdentities;
  readonly names: Pick<Names, 'select' | 'selectors' | 'settled' | 'poll'>;
  readonly report: (status: ResourceStatus) => void;
  /** What of an accepted object this node cannot enforce; empty when all of it. */
  readonly onGaps: (resource: Resource, gaps: readonly string[]) => void;
  readonly cloudGroups: CloudGroups;
  /** What was accepted by runs before this one. */
  readonly memory: Pick<PolicyMemory, 'recall' | 'remember' | 'keep' | 'forget'>;
  /** The source of an object has another version of it, or none any more. */
  readonly onSource: (name: string) => void;
  /** The node itself is an endpoint. */
  readonly hostFirewall: boolean;
  /** Layer 7 parsers that there is a proxy for. */
  readonly proxies: readonly string[];
  readonly metrics: PolicyMetrics;
  readonly clock: Clock;
  /** Resolves when every endpoint's policy map follows the engine. */
  readonly settlePolicies: () => Promise<void>;
  /** A fault outside of any one object. */
  readonly onError: (message: string, error: unknown) => void;
}

/** Whether this importer takes objects of the kind. */
export function isPolicyKind(kind: string): boolean {
  return (POLICY_KINDS as readonly string[]).includes(kind);
}

/**
 * Brings policy objects into the engine: decode, apply, identities for the prefixes they name, refresh. Changes that come
 * in one turn of the event loop take effect together. An object that is rejected leaves its previous version in force.
 */
export class PolicyImporter {
  readonly #options: PolicyImporterOptions;
  readonly #changed = new Map<string, readonly Rule[] | undefined>();
  readonly #groups = new Map<string, CidrGroup | undefined>();
  readonly #services = new Map<string, { namespace: string; name: string; service: PolicyService | undefined }>();
  /** When each change that is not in force yet was heard of. */
  #heard: number[] = [];
  #work: Promise<void> = Promise.resolve();
  #scheduled = false;

  constructor(options: PolicyImporterOptions) {
    this.#options = options;
  }

  /** The rules of an object as they are, or are about to be. */
  inForce(name: string): readonly Rule[] | undefined {
    return this.#changed.has(name) ? this.#changed.get(name) : this.#options.engine.policies().get(name);
  }

  /** Puts rules in the place of an object's, whatever its source says; undefined takes them away. */
  put(resource: Resource, rules: readonly Rule[] | undefined): void {
    this.#change(resource, rules);
  }

  /** Takes in an object; `report` hears at once whether it is accepted. */
  upsert(resource: Resource): void {
    const { decode, report, onGaps, metrics, cloudGroups, hostFirewall, proxies, memory } = this.#options;
    const result = decodePolicy(resource.object, decode);
    if (result.errors !== undefined) {
      const errors = result.errors.map((issue) =>
        formatIssue(issue, resource.positionOf?.(issue.field) ?? resourceName(resource)),
      );
      metrics.policyChanged('fail');
      this.#keepBefore(resource);
      report({ resource, accepted: false, errors });
      return;
    }
    this.#options.onSource(resourceName(resource));
    memory.remember(resource);
    this.#change(resource, result.rules);
    report({ resource, accepted: true, errors: [] });
    onGaps(resource, policyGaps(result.rules, { cloudGroups: cloudGroups.isResolved, hostFirewall, proxies }));
  }

  delete(resource: Resource): void {
    this.#options.onSource(resourceName(resource));
    this.#options.memory.forget(resourceName(resource));
    this.#change(resource, undefined);
  }

  /** Groups of a cloud may have other prefixes than before. */
  cloudGroupsChanged(): void {
    this.#options.cloudGroups.invalidate();
    this.#schedule();
  }

  /** A group that policies name by name or label; undefined takes it away. */
  setCidrGroup(name: string, group: CidrGroup | undefined): void {
    this.#groups.set(name, group);
    this.#schedule();
  }

  /** A service that policies may name; undefined takes it away. */
  setService(namespace: string, name: string, service: PolicyService | undefined): void {
    this.#services.set(`${namespace}/${name}`, { namespace, name, service });
    this.#schedule();
  }

  /** Resolves when all that came in so far is enforced, as far as it can be. */
  async settled(): Promise<void> {
    do await this.#work;
    while (this.#scheduled);
  }

  /** Of an object that is rejected, the version before stays in force; also when that came in under an earlier run. */
  #keepBefore(resource: Resource): void {
    const { memory, decode } = this.#options;
    memory.keep(resourceName(resource));
    if (this.inForce(resourceName(resource)) !== undefined) return;
    const object = memory.recall(resource);
    if (object === undefined) return;
    const { rules } = decodePolicy(object, decode);
    if (rules !== undefined) this.#change(resource, rules);
  }

  #change(resource: Resource, rules: readonly Rule[] | undefined): void {
    this.#changed.set(resourceName(resource), rules);
    this.#heard.push(this.#options.clock.now());
    this.#options.metrics.policyChanged('success');
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#work = this.#work.then(() => this.#apply());
  }

  async #apply(): Promise<void> {
    await nextTurn();
    this.#scheduled = false;
    const { engine, prefixes, names, cloudGroups, onError } = this.#options;
    const policies = Array.from(this.#changed, ([key, rules]) => ({ key, rules }));
    const cidrGroups = Array.from(this.#groups, ([name, group]) => ({ name, group }));
    const services = [...this.#services.values()];
    for (const taken of [this.#changed, this.#groups, this.#services]) taken.clear();
    const heard = this.#heard;
    this.#heard = [];
    try {
      for (let at = 0; at < policies.length; at += CHUNK) {
        engine.apply({ policies: policies.slice(at, at + CHUNK) });
        if (at + CHUNK < policies.length) await nextTurn();
      }
      engine.apply({ cidrGroups, services });
      engine.apply({ cidrGroups: await cloudGroups.follow(engine.policies().values()) });
      const { cidrs, fqdns, polled } = engine.demand();
      // Without its identity a prefix is part of the world; a deny of it would not take, so nothing goes on without.
      await prefixes.add(cidrs);
      await names.settled();
      // Addresses keep what policies select them by that go now, until they are gone.
      await names.select([...names.selectors, ...fqdns]);
      names.poll(polled);
      for (const _ of engine.refresh()) await nextTurn();
      await names.select(fqdns);
      await prefixes.prune(cidrs);
      await this.#implemented(heard);
    } catch (error) {
      onError('policies cannot be brought into force', error);
    }
  }

  async #implemented(heard: readonly number[]): Promise<void> {
    if (heard.length === 0) return;
    const { settlePolicies, metrics, clock } = this.#options;
    await settlePolicies();
    for (const since of heard) metrics.policyImplemented(clock.now() - since);
  }
}

/** The fault of an object that could not be decoded, as a status. */
export function rejection(resource: Resource, error: unknown): ResourceStatus {
  const where =
    error instanceof WeirError && error.field !== undefined ? resource.positionOf?.(error.field) : undefined;
  const place = where === undefined ? '' : `${where.file}:${where.line}:${where.column}: `;
  return { resource, accepted: false, errors: [`${place}${errorText(error)}`] };
}
