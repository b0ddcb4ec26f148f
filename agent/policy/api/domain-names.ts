/** `domainNames` of a ClusterNetworkPolicy. To know the addresses of a name, its DNS must be allowed and read as well. */
import { PROTOCOL } from '../../model/port.ts';
import type { L7Spec, LabelSelector, PortSelector, RuleStanza } from '../rule.ts';
import { checkName, checkPattern, type NameSelector } from './fqdn-selector.ts';
import type { Reading } from './reading.ts';

export type DomainNames = readonly NameSelector[];

/** The cluster's DNS service, wherever it runs. */
const DNS_SERVERS: LabelSelector = { requirements: [{ key: 'any:k8s-app', operator: 'In', values: ['kube-dns'] }] };

export function domainPeers(names: readonly string[], action: RuleStanza['action'], reading: Reading): DomainNames {
  if (action !== 'allow') {
    reading.issue('domain names can only be accepted', { value: names, remedy: 'use networks, or action: Accept' });
  }
  if (!reading.options.l7Proxy) {
    reading.issue('domain names need the DNS proxy, which is off', { value: names, remedy: 'turn on enable-l7-proxy' });
  }
  return names.map((name, i) => reading.at(i, () => domainName(name, reading)));
}

/** A leading star stands for any number of labels here; for Cilium that takes two. */
function domainName(name: string, reading: Reading): NameSelector {
  if (!name.startsWith('*')) {
    checkName(name, reading, []);
    return { matchName: name };
  }
  checkPattern(name, reading, []);
  return { matchPattern: name.startsWith('**') ? name : `*${name}` };
}

/** Allows the names to be asked for, through the proxy that learns the answers. */
export function dnsStanza(names: DomainNames, base: Pick<RuleStanza, 'origin' | 'direction'>): RuleStanza {
  const l7: L7Spec = { parser: 'dns', rules: names.map((name) => ({ ...name })) };
  const ports: readonly PortSelector[] = ['dns', 'dns-tcp'].map((name) => ({
    protocol: PROTOCOL.ANY,
    port: { kind: 'named', name },
    l7,
  }));
  return { ...base, action: 'allow', peers: [{ kind: 'labels', selector: DNS_SERVERS }], ports };
}
