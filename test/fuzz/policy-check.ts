/**
 * What must hold for every history of a policy engine:
 *
 * - the map that follows the changes, the map state itself and the map state of an engine that is told only how things
 *   stand at the end are equal, whatever the order of events;
 * - audited policies change no decision, and mark just those allowances that they would deny if they were enforced;
 * - a lookup in the map state, and the two longest matches that the kernel makes in the map, decide as the explanation does,
 *   which works from the rules alone.
 *
 * `policy-kernel.ts` asks the kernel itself about the maps that come out.
 */
import assert from 'node:assert/strict';
import { identityId, type IdentityId } from '../../agent/model/identity.ts';
import {
  eachChange,
  policyKeyText,
  type Direction,
  type PolicyEntry,
  type PolicyKey,
} from '../../agent/model/mapstate.ts';
import type { EndpointPolicy, LookupResult, PolicyBatch, PolicyEngine } from '../../agent/policy/contract.ts';
import { createPolicyEngine } from '../../agent/policy/engine.ts';
import { applyChanges } from '../../agent/policy/mapstate.ts';
import { drained, Pace } from '../../agent/policy/pace.ts';
import type { Rule } from '../../agent/policy/rule.ts';
import { PROBE_IDENTITIES, PROBE_PORTS, type PolicyCase } from './policy-cases.ts';

type KernelMap = Map<string, readonly [PolicyKey, PolicyEntry]>;

/** An endpoint, and the map as a kernel has it that was told of nothing but changes. */
export interface Followed {
  readonly policy: EndpointPolicy;
  readonly map: KernelMap;
  /** Rules contradicted each other at some time: what is in force since may be older than the rules. */
  stale: boolean;
}

/** @returns the subjects with their maps. @throws AssertionError when a property fails. */
export function checkPolicyCase(found: PolicyCase): readonly Followed[] {
  const engine = createPolicyEngine(found.config, new Pace(found.slice));
  const followed: Followed[] = [];
  let refresh = engine.refresh();
  for (const [i, batch] of found.steps.entries()) {
    engine.apply(keepSubjects(batch, found));
    if (i === 0) followed.push(...found.subjects.map(({ id }) => follow(engine, id, found)));
    for (let turn = 0; turn < (found.turns[i] ?? 0); turn++)
      if (refresh.next().done === true) refresh = engine.refresh();
    for (const one of followed) compareMaps(one.map, mapOf(one.policy), 'changes, map state');
  }
  for (const _turn of refresh);
  for (const _turn of engine.refresh());
  for (const one of followed) {
    one.stale = one.policy.error !== undefined;
    compareMaps(one.map, mapOf(one.policy), 'changes, map state');
  }
  compareWithScratch(found, followed);
  compareAudit(engine, found, followed);
  for (const one of followed) {
    compareWithKernel(one);
    if (!one.stale) compareWithReasons(engine, one, found);
  }
  return followed;
}

function follow(engine: PolicyEngine, identity: IdentityId, { subjectPorts, slice }: PolicyCase): Followed {
  const map: KernelMap = new Map();
  if (slice > 1) drained(engine.prepare(identity, subjectPorts));
  const policy = engine.endpointPolicy({
    identity,
    namedPorts: subjectPorts,
    onChange: (changes) => {
      for (const [key, { before }] of eachChange(changes)) {
        assert.deepEqual(map.get(policyKeyText(key))?.[1], before, 'what a change says was there');
      }
      applyChanges(map, changes);
    },
  });
  for (const [key, entry] of policy.mapState.entries()) map.set(policyKeyText(key), [key, entry]);
  return { policy, map, stale: false };
}

/** A local endpoint's identity is neither removed nor given other labels by what happens to its peers. */
function keepSubjects(batch: PolicyBatch, { subjects }: PolicyCase): PolicyBatch {
  const kept = new Set<number>(subjects.map(({ id }) => id));
  return { ...batch, removedIdentities: (batch.removedIdentities ?? []).filter((id) => !kept.has(id)) };
}

/** The engine that hears only of how things stand at the end. */
function compareWithScratch(found: PolicyCase, followed: readonly Followed[]): void {
  const engine = createPolicyEngine(found.config);
  engine.apply(finalState(found));
  for (const [i, { id }] of found.subjects.entries()) {
    const scratch = engine.endpointPolicy({ identity: id, namedPorts: found.subjectPorts });
    const one = followed[i];
    if (one === undefined) continue;
    assert.equal(one.policy.error === undefined, scratch.error === undefined, 'error, from scratch');
    if (scratch.error === undefined) compareMaps(one.map, mapOf(scratch), 'increments, from scratch');
    assert.deepEqual(one.policy.enforced, scratch.error === undefined ? scratch.enforced : one.policy.enforced);
  }
}

/** With an engine that knows nothing of the audited policies, and one that enforces them, as far as they are audited. */
function compareAudit(engine: PolicyEngine, found: PolicyCase, followed: readonly Followed[]): void {
  const final = finalState(found);
  const isAudited = (rules: readonly Rule[] | undefined): boolean => rules?.some(({ audited }) => audited) === true;
  const audited = (final.policies ?? []).filter(({ rules }) => isAudited(rules));
  if (audited.length === 0) return;
  const endpoints = (policies: PolicyBatch['policies']): readonly EndpointPolicy[] => {
    const other = createPolicyEngine(found.config);
    other.apply({ ...final, ...(policies !== undefined && { policies }) });
    return found.subjects.map(({ id }) => other.endpointPolicy({ identity: id, namedPorts: found.subjectPorts }));
  };
  const without = endpoints(final.policies?.filter(({ rules }) => !isAudited(rules)));
  const enforcing = endpoints(final.policies?.map(({ key, rules }) => ({ key, rules: rules?.map(enforced) })));
  const names = new Set(audited.map(({ key }) => key));
  for (const [i, { policy }] of followed.entries()) {
    const [mine, all] = [without[i]!, enforcing[i]!];
    assert.equal(policy.error === undefined, mine.error === undefined, 'error, without audited policies');
    if (mine.error !== undefined || all.error !== undefined) continue;
    assert.deepEqual(policy.enforced, mine.enforced, 'enforced, without audited policies');
    for (const direction of ['ingress', 'egress'] as const) {
      for (const peer of PROBE_IDENTITIES.map(identityId)) {
        for (const [protocol, port] of PROBE_PORTS) {
          const [seen, wanted, would] = [policy, mine, all].map(({ mapState }) =>
            mapState.lookup(direction, peer, protocol, port),
          ) as [LookupResult, LookupResult, LookupResult];
          const marked = wanted.verdict === 'allow' && would.verdict !== 'allow';
          const expected = `${lookupVerdict(wanted)}${marked ? ' audited' : ''}`;
          const got = `${lookupVerdict(seen)}${seen.entry?.audited === true ? ' audited' : ''}`;
          if (got !== expected)
            assert.equal(got, expected, `audit: ${direction} ${policy.identity} ${peer} ${protocol}/${port}`);
          if (!marked) continue;
          const origins = engine.cookie(seen.entry!.cookie)?.origins ?? [];
          assert.ok(
            origins.some(({ name }) => names.has(name)),
            'audit, named',
          );
        }
      }
    }
  }
}

/** The rule as it would be enforced if its audit were: without layer 7 and authentication, which no audit judges. */
function enforced({ audited, ...rule }: Rule): Rule {
  if (audited !== true) return rule;
  const stanzas = rule.stanzas.map(({ auth: _, ports, ...stanza }) => ({
    ...stanza,
    ports: ports?.map(({ protocol, port }) => ({ protocol, port })),
  }));
  return { ...rule, stanzas };
}

function finalState(found: PolicyCase): PolicyBatch {
  const policies = new Map<string, NonNullable<PolicyBatch['policies']>[number]>();
  const identities = new Map<number, NonNullable<PolicyBatch['identities']>[number]>();
  const namedPorts = new Map<number, NonNullable<PolicyBatch['namedPorts']>[number]>();
  const cidrGroups = new Map<string, NonNullable<PolicyBatch['cidrGroups']>[number]>();
  const services = new Map<string, NonNullable<PolicyBatch['services']>[number]>();
  for (const step of found.steps.map((batch) => keepSubjects(batch, found))) {
    for (const policy of step.policies ?? []) policies.set(policy.key, policy);
    for (const identity of step.identities ?? []) identities.set(identity.id, identity);
    for (const id of step.removedIdentities ?? []) {
      identities.delete(id);
      namedPorts.delete(id);
    }
    for (const ports of step.namedPorts ?? [])
      if (identities.has(ports.identity)) namedPorts.set(ports.identity, ports);
    for (const group of step.cidrGroups ?? []) cidrGroups.set(group.name, group);
    for (const service of step.services ?? []) services.set(`${service.namespace}/${service.name}`, service);
  }
  return {
    policies: [...policies.values()],
    identities: [...identities.values()],
    namedPorts: [...namedPorts.values()],
    cidrGroups: [...cidrGroups.values()],
    services: [...services.values()],
  };
}

function mapOf(policy: EndpointPolicy): KernelMap {
  const map: KernelMap = new Map();
  for (const [key, entry] of policy.mapState.entries()) {
    const text = policyKeyText(key);
    assert.ok(!map.has(text), `two entries with key ${text}`);
    map.set(text, [key, entry]);
  }
  assert.equal(policy.mapState.size, map.size, 'size of the map state');
  return map;
}

/** Cookies name rules in the order in which an engine met them; all else must be equal. */
function compareMaps(a: KernelMap, b: KernelMap, what: string): void {
  const text = (map: KernelMap): readonly string[] =>
    [...map].map(([key, [, entry]]) => `${key} ${JSON.stringify({ ...entry, cookie: entry.cookie > 0 })}`).sort();
  assert.deepEqual(text(a), text(b), what);
}

function compareWithKernel({ policy, map }: Followed): void {
  for (const direction of ['ingress', 'egress'] as const) {
    const tables = kernelTables(map, direction);
    for (const peer of PROBE_IDENTITIES.map(identityId)) {
      for (const [protocol, port] of PROBE_PORTS) {
        const found = mapVerdict(policy.mapState.lookup(direction, peer, protocol, port));
        const kernel = kernelVerdict(tables, peer, protocol, port);
        // The message is made only when it is needed: this runs a hundred million times.
        if (kernel !== found) assert.equal(kernel, found, `kernel, twin: ${direction} ${peer} ${protocol}/${port}`);
      }
    }
  }
}

function compareWithReasons(engine: PolicyEngine, { policy }: Followed, { probes, subjectPorts }: PolicyCase): void {
  const known = new Set<number>(engine.knownIdentities());
  for (const { direction, peer: id, protocol, port } of probes) {
    if (!known.has(id)) continue;
    const [subject, peer] = [policy.identity, identityId(id)];
    const result = policy.mapState.lookup(direction, peer, protocol, port);
    const found = `${lookupVerdict(result)} ${result.entry?.audited === true ? 'audited' : ''}`;
    const why = engine.explain({ direction, subject, peer, protocol, port, subjectPorts });
    const explained = `${why.verdict} ${why.redirect ?? ''} ${why.auth ?? ''} ${why.audited === undefined ? '' : 'audited'}`;
    if (found !== explained)
      assert.equal(found, explained, `lookup, explained: ${direction} ${id} ${protocol}/${port}`);
  }
}

const AUTH = new Map([
  [1, 'required'],
  [2, 'test-always-fail'],
  [255, 'disabled'],
]);

function lookupVerdict({ verdict, entry, redirect }: LookupResult): string {
  const auth = verdict === 'allow' ? (AUTH.get(entry?.authType ?? 0) ?? '') : '';
  return `${verdict} ${redirect?.parser ?? ''} ${auth}`;
}

/** What the kernel can tell: it knows no difference between denials. */
function mapVerdict({ verdict, entry }: LookupResult): string {
  return verdict === 'allow' ? allowText(entry!) : 'deny';
}

type KernelTables = ReadonlyMap<number, readonly (readonly [PolicyKey, PolicyEntry])[]>;

function kernelTables(map: KernelMap, direction: Direction): KernelTables {
  const tables = new Map<number, (readonly [PolicyKey, PolicyEntry])[]>();
  for (const [key, entry] of map.values()) {
    if (key.direction !== direction) continue;
    const table = tables.get(key.identity) ?? [];
    table.push([key, entry]);
    tables.set(key.identity, table);
  }
  return tables;
}

/** The kernel's lookup in the plainest words (S7), on the map as the kernel has it. */
function kernelVerdict(tables: KernelTables, peer: number, protocol: number, port: number): string {
  const best = (identity: number): readonly [PolicyKey, PolicyEntry] | undefined => {
    let longest: readonly [PolicyKey, PolicyEntry] | undefined;
    for (const row of tables.get(identity) ?? []) {
      if (!keyMatches(row[0], protocol, port)) continue;
      if (longest === undefined || keyLength(row[0]) > keyLength(longest[0])) longest = row;
    }
    return longest;
  };
  const [own, any] = [best(peer), best(0)];
  const winner = own === undefined || any === undefined ? (own ?? any) : stronger(own, any);
  if (winner === undefined || winner[1].deny) return 'deny';
  return allowText(winner[1]);
}

function allowText(entry: PolicyEntry): string {
  return `allow ${entry.proxyPort} ${authNumber(entry)}${entry.audited === true ? ' audited' : ''}`;
}

/** An explicit `disabled` is none. */
function authNumber({ authType }: PolicyEntry): number {
  return authType === 255 ? 0 : authType;
}

function keyMatches(key: PolicyKey, protocol: number, port: number): boolean {
  if (key.protocol !== 0 && key.protocol !== protocol) return false;
  return key.port >> (16 - key.portPrefix) === port >> (16 - key.portPrefix);
}

function keyLength(key: PolicyKey): number {
  return key.protocol === 0 ? 0 : 8 + key.portPrefix;
}

function stronger<T extends readonly [PolicyKey, PolicyEntry]>(own: T, any: T): T {
  const [[ownKey, a], [anyKey, b]] = [own, any];
  if (a.precedence !== b.precedence) return a.precedence > b.precedence ? own : any;
  if (a.deny !== b.deny) return a.deny ? own : any;
  return keyLength(anyKey) > keyLength(ownKey) ? any : own;
}
