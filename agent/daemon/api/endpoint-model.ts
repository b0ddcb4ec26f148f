import type * as models from '../../api/models.ts';
import type { Endpoint } from '../../endpoint/endpoint.ts';
import type { Addressing, Ipam } from '../../ipam/ipam.ts';
import { formatAddress, formatCidr } from '../../model/address.ts';
import { burstBytes, NO_LIMITS, sameLimits } from '../../model/bandwidth.ts';
import type { BandwidthLimit, BandwidthLimits } from '../../model/bandwidth.ts';
import { formatLabel, type Label } from '../../model/labels.ts';
import { formatMac } from '../../model/mac.ts';
import { protocolName } from '../../model/port.ts';
import { objectNames } from '../deciders.ts';
import type { PolicyMapUse } from '../policy-maps.ts';
import { identityModel } from './identity-model.ts';

/** An endpoint as the API shows it. */
export function endpointModel(endpoint: Endpoint, ipam: Ipam, use: PolicyMapUse | undefined): models.Endpoint {
  const { id, identity, options, labels } = endpoint;
  const configuration = configurationModel(endpoint);
  const last = logModel(endpoint).slice(0, 1);
  return {
    id,
    spec: configuration,
    status: {
      state: endpoint.state,
      'external-identifiers': identifiersModel(endpoint),
      ...(identity && { identity: identityModel(identity) }),
      labels: labelsModel(endpoint).status ?? {},
      realized: {
        ...configuration,
        options: optionsModel({ auditMode: endpoint.realized?.auditMode ?? options.auditMode }),
        'label-configuration': { user: texts(labels.user) },
      },
      networking: networkingModel(endpoint, ipam),
      policy: policyModel(endpoint),
      log: last,
      health: healthModel(endpoint, undefined, use),
      ...(use && { 'policy-map': policyMapModel(use) }),
      ...(!sameLimits(endpoint.bandwidth, NO_LIMITS) && { bandwidth: bandwidthModel(endpoint.bandwidth) }),
    },
  };
}

function bandwidthModel({ ingress, egress }: BandwidthLimits): models.BandwidthStatus {
  const model = (limit: BandwidthLimit): models.BandwidthLimitStatus => ({
    'bits-per-second': limit.rate * 8,
    'burst-bytes': burstBytes(limit),
  });
  return { ...(ingress && { ingress: model(ingress) }), ...(egress && { egress: model(egress) }) };
}

function identifiersModel({ key, attachment, podName, isOwn }: Endpoint): models.EndpointIdentifiers {
  // Without one, runtimes leave it alone when they collect what they no longer know.
  if (isOwn) return {};
  return {
    'cni-attachment-id': key,
    'container-id': attachment.containerId,
    ...(attachment.containerName !== undefined && { 'container-name': attachment.containerName }),
    ...(podName !== undefined && {
      'pod-name': podName,
      'k8s-pod-name': attachment.podName,
      'k8s-namespace': attachment.namespace,
    }),
    ...(attachment.podUid !== undefined && { 'k8s-uid': attachment.podUid }),
  };
}

function networkingModel({ link, addressing, attachment, mtu }: Endpoint, ipam: Ipam): models.EndpointNetworking {
  return {
    addressing: [addressPair(addressing)],
    'host-addressing': nodeAddressing(ipam),
    ...(link && {
      'host-mac': formatMac(link.hostMac),
      mac: formatMac(link.containerMac),
      'interface-name': link.hostIfName,
      'interface-index': link.hostIfIndex,
    }),
    'container-interface-name': attachment.containerIfName,
    mtu,
    'network-namespace-path': attachment.netns,
  };
}

export function addressPair({ ipv4, ipv6 }: Addressing): models.AddressPair {
  return { ...(ipv4 && { ipv4: formatAddress(ipv4) }), ...(ipv6 && { ipv6: formatAddress(ipv6) }) };
}

/** The router's addresses and the pod CIDRs. */
export function nodeAddressing({ ipv4, ipv6 }: Ipam): models.NodeAddressing {
  const element = (pool: typeof ipv4): models.NodeAddressingElement =>
    pool === undefined
      ? { enabled: false }
      : { enabled: true, ip: formatAddress(pool.router), 'alloc-range': formatCidr(pool.cidr) };
  return { ipv4: element(ipv4), ipv6: element(ipv6) };
}

/** What the API lets people turn, by Cilium's names. */
export function optionsModel({ auditMode }: { readonly auditMode: boolean }): models.ConfigurationMap {
  return { PolicyAuditMode: auditMode ? 'Enabled' : 'Disabled' };
}

export function configurationModel({ options, labels }: Endpoint): models.EndpointConfigurationSpec {
  return { options: optionsModel(options), 'label-configuration': { user: texts(labels.user) } };
}

export function labelsModel({ labels }: Endpoint): models.LabelConfiguration {
  const spec = { user: texts(labels.user) };
  return {
    spec,
    status: {
      realized: spec,
      'security-relevant': texts(labels.identity),
      derived: texts([...labels.derived]),
      disabled: [],
    },
  };
}

/** Newest first. */
export function logModel({ log }: Endpoint): models.EndpointStatusChange[] {
  return log.entries().map(({ time, code, message, state }) => ({
    timestamp: new Date(time).toISOString(),
    code,
    message,
    state,
  }));
}

export function policyMapModel({ entries, maxEntries, lockdown }: PolicyMapUse): models.PolicyMapStatus {
  return { entries, 'max-entries': maxEntries, lockdown };
}

/** @param connected whether the link stands; undefined when nobody looked */
export function healthModel(
  endpoint: Endpoint,
  connected: boolean | undefined,
  use: PolicyMapUse | undefined,
): models.EndpointHealth {
  const policy = use?.lockdown === true ? 'Failure' : policyHealth(endpoint);
  const bpf = endpoint.realized === undefined ? policy : 'OK';
  const overall = connected === false ? 'Failure' : policy;
  return {
    overallHealth: overall,
    bpf: connected === false ? 'Failure' : bpf,
    policy,
    connected: connected ?? !endpoint.isLeaving,
  };
}

function policyHealth({ state, realized }: Endpoint): models.EndpointHealthStatus {
  switch (state) {
    case 'ready':
      return 'OK';
    case 'restoring':
    case 'waiting-for-identity':
    case 'waiting-to-regenerate':
    case 'regenerating':
      return realized === undefined ? 'Bootstrap' : 'Pending';
    case 'not-ready':
      // What was in force before still is.
      return realized === undefined ? 'Failure' : 'Warning';
    case 'invalid':
      return 'Failure';
    case 'disconnecting':
    case 'disconnected':
      return 'Disabled';
  }
}

/** Identities that a policy lets through, or not, per direction. */
function policyModel({ policy, realized, identity, state, pending }: Endpoint): models.EndpointPolicyStatus {
  if (policy === undefined) return {};
  // A revision that changes nothing for the endpoint is in force without any work.
  const current = state === 'ready' && pending.isEmpty ? policy : undefined;
  const sets = {
    ingress: { allowed: new Set<number>(), denied: new Set<number>() },
    egress: { allowed: new Set<number>(), denied: new Set<number>() },
  };
  const l4 = { ingress: new Set<string>(), egress: new Set<string>() };
  for (const [key, entry] of policy.mapState.entries()) {
    sets[key.direction][entry.deny ? 'denied' : 'allowed'].add(key.identity);
    if (key.protocol !== 0) l4[key.direction].add(`${protocolName(key.protocol)}/${key.port}/${key.portPrefix}`);
  }
  const sorted = (numbers: ReadonlySet<number>): number[] => [...numbers].sort((a, b) => a - b);
  const rules = (names: ReadonlySet<string>): models.PolicyRule[] => [...names].sort().map((rule) => ({ rule }));
  const model = (revision: number, enforced: { ingress: boolean; egress: boolean }, audit: boolean) => ({
    'policy-revision': revision,
    id: identity?.id ?? 0,
    'policy-enabled': enabled(enforced, audit),
    build: revision,
    'allowed-ingress-identities': sorted(sets.ingress.allowed),
    'denied-ingress-identities': sorted(sets.ingress.denied),
    'allowed-egress-identities': sorted(sets.egress.allowed),
    'denied-egress-identities': sorted(sets.egress.denied),
    l4: { ingress: rules(l4.ingress), egress: rules(l4.egress) },
  });
  const audit = realized?.auditMode ?? false;
  const audited = { ingress: objectNames(policy.audited.ingress), egress: objectNames(policy.audited.egress) };
  return {
    ...(audited.ingress.length + audited.egress.length > 0 && { 'audited-policies': audited }),
    spec: model(policy.revision, policy.enforced, audit),
    ...(realized && { realized: model(current?.revision ?? realized.revision, realized.enforced, audit) }),
  };
}

function enabled(enforced: { ingress: boolean; egress: boolean }, audit: boolean): models.EndpointPolicyEnabled {
  const { ingress, egress } = enforced;
  if (!ingress && !egress) return 'none';
  const which = ingress && egress ? 'both' : ingress ? 'ingress' : 'egress';
  return audit ? `audit-${which}` : which;
}

function texts(labels: readonly Label[]): string[] {
  return labels.map(formatLabel);
}
