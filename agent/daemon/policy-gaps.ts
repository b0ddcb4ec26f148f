/** What of a policy this node cannot put in force, in words. Pure. */
import type { PeerSelector, Rule, RuleStanza } from '../policy/rule.ts';

/** What there is besides the datapath. */
export interface Provided {
  /** Somebody resolves groups of a cloud. */
  readonly cloudGroups: boolean;
}

/**
 * Says of each thing that the rules ask for and no component here provides what becomes of its traffic. Traffic
 * that such an allowance is about is dropped; a denial of peers that nobody can name denies nobody, and without a host
 * firewall nothing judges what the node itself sends and receives: that must be said.
 */
export function policyGaps(rules: readonly Rule[], provided: Provided): readonly string[] {
  const stanzas = rules.flatMap((rule) => rule.stanzas);
  const peers = stanzas.flatMap((stanza) => stanza.peers ?? []);
  const has = (kind: PeerSelector['kind']): boolean => peers.some((peer) => peer.kind === kind);
  return [
    ...(rules.some(({ subject }) => subject.kind === 'node') ? [GAPS.host] : []),
    ...(stanzas.some(needsProxy) ? [GAPS.proxy] : []),
    ...(has('fqdn') ? [GAPS.names] : []),
    ...(has('awsGroup') && !provided.cloudGroups ? [GAPS.cloudGroups] : []),
    ...(stanzas.some(needsAuthentication) ? [GAPS.authentication] : []),
  ];
}

export const GAPS = {
  host: 'nodeSelector: host policies are not enforced yet, traffic of the node itself passes unjudged',
  proxy: 'layer 7 rules: there is no proxy yet, traffic on their ports is dropped',
  names: 'toFQDNs: names are not learned yet, the rules select nobody',
  cloudGroups: 'groups of a cloud: nobody resolves them (see --cloud-groups), the rules select nobody',
  authentication: 'authentication: there is no authentication yet, traffic that requires it is dropped',
} as const;

function needsProxy({ action, ports = [] }: RuleStanza): boolean {
  return action !== 'deny' && ports.some(({ l7 }) => l7 !== undefined);
}

function needsAuthentication({ action, auth }: RuleStanza): boolean {
  return action !== 'deny' && auth !== undefined && auth !== 'disabled';
}
