import type * as models from '../../api/models.ts';
import type { PolicyApi } from '../../api/server/contract.ts';
import type { EndpointIndex } from '../../endpoint/table.ts';
import type { IdentityRegistry } from '../../identity/registry.ts';
import type { Ipcache, IpcacheRecord } from '../../ipcache/ipcache.ts';
import { cidrCovers, formatAddress, formatCidr, parseCidr } from '../../model/address.ts';
import { WeirError } from '../../model/errors.ts';
import { identityId, RESERVED_IDENTITY, type Identity } from '../../model/identity.ts';
import type { PolicyEngine } from '../../policy/contract.ts';
import type { RuleOrigin } from '../../policy/rule.ts';
import { hasLabels, identityModel } from './identity-model.ts';

/** Identities, policies and the ipcache as the API shows them. */
export class PolicyApiAdapter implements PolicyApi {
  readonly #identities: IdentityRegistry;
  readonly #engine: PolicyEngine;
  readonly #ipcache: Ipcache;
  readonly #endpoints: EndpointIndex;

  constructor(identities: IdentityRegistry, engine: PolicyEngine, ipcache: Ipcache, endpoints: EndpointIndex) {
    this.#identities = identities;
    this.#engine = engine;
    this.#ipcache = ipcache;
    this.#endpoints = endpoints;
  }

  identities(labels: readonly string[]): readonly models.Identity[] {
    return this.#identities
      .list()
      .filter((identity) => hasLabels(identity.labels, labels))
      .map(identityModel);
  }

  identity(id: string): models.Identity {
    const named = Object.entries(RESERVED_IDENTITY).find(([name]) => name === id)?.[1];
    if (named === undefined && !/^\d+$/.test(id)) {
      throw new WeirError('REQUEST_INVALID', `${JSON.stringify(id)} is no identity`, { field: 'id' });
    }
    return identityModel(this.#identities.get(named ?? identityId(Number(id))));
  }

  identityEndpoints(): readonly models.IdentityEndpoints[] {
    const counts = new Map<number, number>();
    for (const { identity } of this.#endpoints.list()) {
      if (identity !== undefined) counts.set(identity.id, (counts.get(identity.id) ?? 0) + 1);
    }
    return [...counts]
      .sort(([a], [b]) => a - b)
      .map(([id, refCount]) => ({ identity: identityModel(this.#identities.get(identityId(id))), refCount }));
  }

  policy(): models.Policy {
    const objects = [...this.#engine.policies()].map(([name, rules]) => ({ name, rules }));
    return { revision: this.#engine.revision, policy: JSON.stringify(objects, readable, 2) };
  }

  selectors(): models.SelectorCache {
    return this.#engine.selectors().map(({ selector, identities, users, origins }) => ({
      ...{ selector, identities, users },
      labels: origins.flatMap(originLabels),
    }));
  }

  explain({ subject, peer, ...packet }: models.PolicyQuestion): models.PolicyExplanation {
    // The engine knows more than the registry does: CIDR groups, services, the mode of enforcement.
    for (const id of [subject, peer]) this.#identities.get(identityId(id));
    const explanation = this.#engine.explain({ ...packet, subject: identityId(subject), peer: identityId(peer) });
    const { question } = explanation;
    // Of the engine's own records only what identifies them.
    const plain = ({ id, labels }: Identity): Identity => ({ id, labels });
    return {
      ...explanation,
      question: { ...question, subject: plain(question.subject), peer: plain(question.peer) },
    };
  }

  ips(cidr: string | undefined): readonly models.IPListEntry[] {
    const within = cidr === undefined || cidr === '' ? undefined : parseCidr(cidr);
    const entries = [...this.#ipcache.entries()].filter(
      ({ prefix }) => within === undefined || cidrCovers(within, prefix),
    );
    return entries.sort(byPrefix).map(ipModel);
  }
}

/** Addresses as text: a byte array says nothing to a reader. */
function readable(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('bytes' in value) || !('family' in value)) return value;
  const { bytes, family } = value;
  const isAddress = bytes instanceof Uint8Array && (family === 4 || family === 6);
  return isAddress ? formatAddress({ family, bytes }) : value;
}

function ipModel({ prefix, identity, source, tunnelEndpoint, namespace, podName }: IpcacheRecord): models.IPListEntry {
  return {
    cidr: formatCidr(prefix),
    identity,
    ...(tunnelEndpoint && { hostIP: formatAddress(tunnelEndpoint) }),
    encryptKey: 0,
    metadata: {
      source: source === 'local' ? 'agent-local' : source,
      ...(namespace !== undefined && { namespace }),
      ...(podName !== undefined && { name: podName }),
    },
  };
}

/** The labels that Cilium gives the rules of an object. */
function originLabels({ kind, namespace, name }: RuleOrigin): readonly models.LabelModel[] {
  const label = (key: string, value: string): models.LabelModel => ({ source: 'k8s', key, value });
  return [
    label('io.cilium.k8s.policy.derived-from', kind),
    label('io.cilium.k8s.policy.name', name),
    label('io.cilium.k8s.policy.namespace', namespace),
  ];
}

function byPrefix({ prefix: a }: IpcacheRecord, { prefix: b }: IpcacheRecord): number {
  if (a.address.family !== b.address.family) return a.address.family - b.address.family;
  return Buffer.compare(a.address.bytes, b.address.bytes) || a.length - b.length;
}
