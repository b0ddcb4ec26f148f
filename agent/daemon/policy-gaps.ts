/** What of a policy this node cannot put in force, in words. Pure. */
import type { PeerSelector, Rule, RuleStanza } from '../policy/rule.ts';

/** What there is besides the datapath. */
export interface Provided {
  /** The node itself is an endpoint. */
  readonly hostFirewall: boolean;
  /** Somebody resolves groups of a cloud. */
  readonly cloudGroups: boolean;
  /** Layer 7 parsers that there is a proxy for. */
  readonly proxies: readonly string[];
}

/**
 * Says of each thing that the rules ask for and no component here provides what becomes of its traffic. Traffic
 * that such an allowance is about is dropped; a denial of peers that nobody can name denies nobody, and without a host
 * firewall nothing judges what the node itself sends and receives: that must be said.
 */
export function policyGaps(rules: readonly Rule[], provided: Provided): readonly string[] {
  const enforced = rules.filter((rule) => rule.audited !== true).flatMap((rule) => rule.stanzas);
  const stanzas = rules.flatMap((rule) => rule.stanzas);
  const peers = stanzas.flatMap((stanza) => stanza.peers ?? []);
  const has = (kind: PeerSelector['kind']): boolean => peers.some((peer) => peer.kind === kind);
  return [
    ...(rules.some(({ audited }) => audited) ? [GAPS.audited] : []),
    ...(rules.some(({ subject }) => subject.kind === 'node') && !provided.hostFirewall ? [GAPS.host] : []),
    ...(enforced.some((stanza) => lacksProxy(stanza, provided)) ? [GAPS.proxy] : []),
    ...(has('awsGroup') && !provided.cloudGroups ? [GAPS.cloudGroups] : []),
    ...(enforced.some(needsAuthentication) ? [GAPS.authentication] : []),
  ];
}

export const GAPS = {
  audited: 'audited: what it would deny in addition to other policies is forwarded and reported',
  host: 'nodeSelector: traffic of the node itself passes unjudged without --enable-host-firewall',
  proxy: 'layer 7 rules: there is no proxy for them yet, traffic on their ports is dropped',
  cloudGroups: 'groups of a cloud: nobody resolves them (see --cloud-groups), the rules select nobody',
  authentication: 'authentication: there is no authentication yet, traffic that requires it is dropped',
} as const;

function lacksProxy({ action, ports = [] }: RuleStanza, { proxies }: Provided): boolean {
  return action !== 'deny' && ports.some(({ l7 }) => l7 !== undefined && !proxies.includes(l7.parser));
}

function needsAuthentication({ action, auth }: RuleStanza): boolean {
  return action !== 'deny' && auth !== undefined && auth !== 'disabled';
}
