/** ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2): tiers, priorities, Accept, Deny and Pass (S38). */
import type { Direction } from '../../model/mapstate.ts';
import type { LabelSelector, PeerSelector, PortSelector, Rule, RuleOrigin, RuleStanza, Tier } from '../rule.ts';
import { cidr } from './cidr-rule.ts';
import { integer, list, object, string } from './decode.ts';
import { domainPeers, dnsStanza, type DomainNames } from './domain-names.ts';
import { clusterProtocol } from './cluster-protocol.ts';
import { inOwnCluster, namespaceSelector, podSelector, podsOf } from './kubernetes-selector.ts';
import { finishSelector, labelSelector, SELECT_NOTHING } from './label-selector.ts';
import { originOf } from './metadata.ts';
import type { Reading } from './reading.ts';
import { topLevel } from './top-level.ts';

const TIERS = { Admin: 'admin', Baseline: 'baseline' } as const;
const ACTIONS = { Accept: 'allow', Deny: 'deny', Pass: 'pass' } as const;
const MAX_PRIORITY = 1000;
const MAX_RULES = 25;

const namespacedPods = object({ namespaceSelector, podSelector });
const ingressPeer = object({ namespaces: namespaceSelector, pods: namespacedPods });
const egressPeer = object({
  namespaces: namespaceSelector,
  pods: namespacedPods,
  nodes: labelSelector({ source: 'node', schemaOnly: true }),
  networks: list(cidr),
  domainNames: list(string),
});

const common = { name: string, action: string, protocols: list(clusterProtocol) };

const spec = object({
  tier: string,
  priority: integer,
  subject: object({ namespaces: namespaceSelector, pods: namespacedPods }),
  ingress: list(object({ ...common, from: list(ingressPeer) })),
  egress: list(object({ ...common, to: list(egressPeer) })),
});

type Spec = NonNullable<ReturnType<typeof spec>>;
type Peer = NonNullable<ReturnType<typeof egressPeer>>;
type NamespacedPods = NonNullable<ReturnType<typeof namespacedPods>>;

/** One rule of the list, of either direction. */
interface RawRule {
  readonly action?: string | undefined;
  readonly protocols?: readonly PortSelector[] | undefined;
  readonly peers?: readonly Peer[] | undefined;
}

/** Gives one internal rule for each rule of the policy: each has a priority of its own. */
export function clusterNetworkPolicy(object: Readonly<Record<string, unknown>>, reading: Reading): readonly Rule[] {
  topLevel(object, ['spec'], reading);
  const origin = originOf(object, 'ClusterNetworkPolicy', false, reading);
  reading.enter('spec');
  const raw = spec(object['spec'] ?? {}, reading) ?? {};
  const head = {
    tier: tierOf(raw, reading),
    priority: priorityOf(raw, reading),
    subject: { kind: 'endpoint' as const, selector: subjectOf(raw, reading) },
  };
  const build = (direction: Direction, items: readonly RawRule[]): readonly Rule[] =>
    reading.at(direction, () => {
      if (items.length > MAX_RULES) {
        reading.schemaIssue(`more than ${MAX_RULES} rules`, { remedy: 'split the policy' });
      }
      return items.map((item, i) => reading.at(i, () => ruleOf(item, i, direction, head, origin, reading)));
    });
  const rules = [
    ...build(
      'ingress',
      (raw.ingress ?? []).map(({ from, ...rest }) => ({ ...rest, peers: from })),
    ),
    ...build(
      'egress',
      (raw.egress ?? []).map(({ to, ...rest }) => ({ ...rest, peers: to })),
    ),
  ];
  reading.leave();
  return rules;
}

function tierOf({ tier = '' }: Spec, reading: Reading): Tier {
  if (Object.hasOwn(TIERS, tier)) return TIERS[tier as keyof typeof TIERS];
  if (reading.strict) reading.at('tier', () => reading.unknownName('tier', tier, Object.keys(TIERS)));
  return 'admin';
}

function priorityOf({ priority }: Spec, reading: Reading): number {
  if (priority === undefined || priority < 0 || priority > MAX_PRIORITY) {
    const value = priority === undefined ? {} : { value: priority };
    reading.schemaIssue('the priority is missing or out of bounds', {
      under: ['priority'],
      ...value,
      remedy: `give a number from 0 to ${MAX_PRIORITY}`,
    });
  }
  return priority ?? 0;
}

function subjectOf({ subject = {} }: Spec, reading: Reading): LabelSelector {
  const { namespaces, pods } = subject;
  if ((namespaces === undefined) === (pods === undefined)) {
    reading.schemaIssue('exactly one of namespaces and pods is needed', {
      under: ['subject'],
      remedy: 'give one; namespaces: {} selects every pod',
    });
  }
  if (namespaces !== undefined) return finishSelector(podsOf(namespaces, undefined));
  return pods === undefined ? SELECT_NOTHING : finishSelector(namespacedDraft(pods));
}

function ruleOf(
  item: RawRule,
  index: number,
  direction: Direction,
  head: Pick<Rule, 'tier' | 'priority' | 'subject'>,
  origin: Omit<RuleOrigin, 'path'>,
  reading: Reading,
): Rule {
  const here = { ...origin, path: reading.field };
  const stanza: Pick<RuleStanza, 'origin' | 'direction'> = { origin: here, direction };
  const selects = { ingress: direction === 'ingress', egress: direction === 'egress' };
  return {
    ...head,
    origin: here,
    // The order of a policy's rules is their rank among equals: a hundredth each.
    priority: head.priority + index / 100,
    stanzas: stanzasOf(item, actionOf(item, reading), stanza, reading),
    defaultDeny: { ingress: false, egress: false },
    selects,
  };
}

function actionOf({ action = '' }: RawRule, reading: Reading): RuleStanza['action'] {
  if (Object.hasOwn(ACTIONS, action)) return ACTIONS[action as keyof typeof ACTIONS];
  if (reading.strict) reading.at('action', () => reading.unknownName('action', action, Object.keys(ACTIONS)));
  return 'allow';
}

function stanzasOf(
  { peers = [], protocols = [] }: RawRule,
  action: RuleStanza['action'],
  base: Pick<RuleStanza, 'origin' | 'direction'>,
  reading: Reading,
): readonly RuleStanza[] {
  const ports = protocols.length === 0 ? undefined : protocols;
  if (peers.length === 0) return [{ ...base, action, peers: undefined, ports }];
  const names: DomainNames[] = [];
  const selected: PeerSelector[] = [];
  let unknown = false;
  const side = base.direction === 'ingress' ? 'from' : 'to';
  for (const [i, peer] of peers.entries()) {
    reading.enter(side);
    reading.enter(i);
    const converted = peersOf(peer, action, names, reading);
    if (converted === undefined) unknown = true;
    else selected.push(...converted);
    reading.leave();
    reading.leave();
  }
  const stanzas: RuleStanza[] = [{ ...base, action, peers: selected, ports }];
  // A peer nobody understands: an Accept of it accepts nothing, a Deny or Pass of it denies everything.
  if (unknown && action !== 'allow') stanzas.push({ ...base, action: 'deny', peers: undefined, ports });
  return [...names.map((learned) => dnsStanza(learned, base)), ...stanzas];
}

/** Undefined when the peer has none of the known fields. */
function peersOf(
  peer: Peer,
  action: RuleStanza['action'],
  names: DomainNames[],
  reading: Reading,
): readonly PeerSelector[] | undefined {
  if (Object.values(peer).filter((value) => value !== undefined).length !== 1) {
    reading.schemaIssue('exactly one kind of peer is needed', { remedy: 'write one item for each kind of peer' });
  }
  const { pods, namespaces, nodes, networks, domainNames } = peer;
  if (pods !== undefined) return [{ kind: 'labels', selector: inOwnCluster(namespacedDraft(pods), reading) }];
  if (namespaces !== undefined) return [{ kind: 'labels', selector: finishSelector(podsOf(namespaces, undefined)) }];
  if (nodes !== undefined) {
    if (!reading.options.nodeSelectorLabels) {
      reading.issue('nodes cannot be selected by label: node identities carry no labels', {
        under: ['nodes'],
        remedy: 'turn on enable-node-selector-labels, or use networks',
      });
    }
    nodes.expressions.push({ key: 'reserved:remote-node', operator: 'Exists', values: [] });
    return [{ kind: 'nodes', selector: inOwnCluster(nodes, reading) }];
  }
  if (networks !== undefined) return networks.map((network) => ({ kind: 'cidr', cidr: network, except: [] }));
  if (domainNames === undefined) return undefined;
  const learned = reading.at('domainNames', () => domainPeers(domainNames, action, reading));
  names.push(learned);
  return learned.map((name) => ({ kind: 'fqdn', ...name }));
}

function namespacedDraft({ namespaceSelector: namespaces, podSelector: pods }: NamespacedPods) {
  return podsOf(namespaces ?? { labels: new Map(), expressions: [] }, pods);
}
