/** Rules in force, for people. Pure. */
import { formatCidr, parseCidr } from '../../agent/model/address.ts';
import { LABEL } from '../../agent/model/labels.ts';
import { protocolName } from '../../agent/model/port.ts';
import type { LabelSelector, PeerSelector, PortSelector, Rule, RuleStanza } from '../../agent/policy/rule.ts';
import { labelTerm, termText } from '../../agent/policy/term.ts';
import type { Row } from '../output/table.ts';

/** An object in force. */
export interface PolicyObject {
  /** `Kind namespace/name`. */
  readonly name: string;
  readonly rules: readonly Rule[];
}

/** Reads what the agent says of its rules. */
export function parsePolicies(text: string): readonly PolicyObject[] {
  return JSON.parse(text, (_key, value: unknown) => {
    const { address, length } = (value ?? {}) as { address?: unknown; length?: unknown };
    return typeof address === 'string' && typeof length === 'number' ? parseCidr(`${address}/${length}`) : value;
  }) as readonly PolicyObject[];
}

/** Whether `word` means the object: its name, with or without namespace and kind. */
export function isNamed({ name }: PolicyObject, word: string): boolean {
  const [, place = ''] = name.split(' ');
  return [name, name.replace(' ', '/'), place, place.slice(place.indexOf('/') + 1)].includes(word);
}

/** A line for each thing that a rule says. */
export function policyRuleRows(objects: readonly PolicyObject[]): Row[] {
  const rows = objects
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, rules }) => {
      const title = rules.some(({ audited }) => audited) ? `${name} (audited)` : name;
      return rules.flatMap((rule) => ruleRows(rule)).map((row, i) => [i === 0 ? title : '', ...row]);
    });
  return [['POLICY', 'SUBJECT', 'DENIES BY DEFAULT', 'RULE', 'PEERS', 'PORTS'], ...rows];
}

function ruleRows(rule: Rule): string[][] {
  const { ingress, egress } = rule.defaultDeny;
  const denies = [...(ingress ? ['ingress'] : []), ...(egress ? ['egress'] : [])].join(', ');
  const rank = rule.tier === 'normal' ? '' : ` (${rule.tier} ${rule.priority})`;
  const about = `${rule.subject.kind === 'node' ? 'nodes ' : ''}${selectorText(rule.subject.selector, rule)}${rank}`;
  const said = rule.stanzas.length === 0 ? [['', '', '']] : rule.stanzas.map((stanza) => stanzaCells(stanza, rule));
  return said.map((cells, i) => [i === 0 ? about : '', i === 0 ? denies : '', ...cells]);
}

function stanzaCells(stanza: RuleStanza, rule: Rule): string[] {
  const auth = stanza.auth === undefined ? '' : `, authentication ${stanza.auth}`;
  return [
    `${stanza.direction} ${stanza.action}${auth}`,
    listText(stanza.peers, 'everybody', 'nobody', (peer) => peerText(peer, rule)),
    listText(stanza.ports, 'every port', 'no port', portText),
  ];
}

function listText<T>(items: readonly T[] | undefined, all: string, none: string, text: (item: T) => string): string {
  if (items === undefined) return all;
  return items.length === 0 ? none : items.map(text).join(', ');
}

function peerText(peer: PeerSelector, rule: Rule): string {
  switch (peer.kind) {
    case 'labels':
      return selectorText(peer.selector, rule);
    case 'nodes':
      return `nodes ${selectorText(peer.selector, rule)}`;
    case 'entity':
      return `entity ${peer.entity}`;
    case 'cidr':
      return `${formatCidr(peer.cidr)}${exceptText(peer.except)}`;
    case 'cidrGroup': {
      const { group } = peer;
      const which = 'name' in group ? group.name : termText(labelTerm(group.selector.requirements));
      return `CIDR group ${which}${exceptText(peer.except)}`;
    }
    case 'fqdn':
      return `name ${peer.matchName ?? peer.matchPattern ?? ''}`;
    case 'service': {
      const { service } = peer;
      const which = 'name' in service ? service.name : termText(labelTerm(service.selector.requirements));
      return `service ${service.namespace}/${which}`;
    }
    case 'awsGroup':
      return `cloud group ${JSON.stringify(peer.group)}`;
  }
}

function exceptText(except: Extract<PeerSelector, { kind: 'cidr' }>['except']): string {
  return except.length === 0 ? '' : ` except ${except.map(formatCidr).join(' and ')}`;
}

/** Without what goes without saying: the policy's own namespace, the cluster. */
function selectorText({ requirements }: LabelSelector, { origin: { namespace } }: Rule): string {
  const said = requirements.filter(({ key, values }) => {
    if (key === `k8s:${LABEL.cluster}`) return false;
    return key !== `k8s:${LABEL.podNamespace}` || namespace === '' || values.length !== 1 || values[0] !== namespace;
  });
  const text = termText(labelTerm(said)).replaceAll('any:', '');
  return said.length === 0 && requirements.length > 0 ? 'all pods' : text;
}

function portText({ protocol, port, l7 }: PortSelector): string {
  const name = protocol === 0 ? 'ANY' : protocolName(protocol);
  const through = l7 === undefined ? '' : ` (${l7.parser})`;
  if (port.kind === 'any') return `${name}${through}`;
  if (port.kind === 'named') return `${name}/${port.name}${through}`;
  return `${name}/${port.endPort > port.port ? `${port.port}-${port.endPort}` : port.port}${through}`;
}
