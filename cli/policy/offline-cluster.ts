/** A cluster as manifests describe it, decided by the engine of the agent. Pure. */
import { cidrLabels } from '../../agent/identity/cidr-labels.ts';
import { RESERVED_IDENTITIES } from '../../agent/identity/reserved.ts';
import { cidrContains, formatAddress, type Address, type Cidr } from '../../agent/model/address.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { identityId, IDENTITY_SCOPE, type Identity, type IdentityId } from '../../agent/model/identity.ts';
import { canonicalLabels, labelSetKey, type Label } from '../../agent/model/labels.ts';
import type { Direction } from '../../agent/model/mapstate.ts';
import { resourceName, type Resource } from '../../agent/model/resource.ts';
import { decodePolicy, DEFAULT_DECODE_OPTIONS, formatIssue, isPolicyKind } from '../../agent/policy/api/index.ts';
import { DEFAULT_POLICY_CONFIG, type PolicyConfig } from '../../agent/policy/config.ts';
import type { EndpointPolicy, LookupResult, NamedPort, PolicyEngine } from '../../agent/policy/contract.ts';
import { createPolicyEngine } from '../../agent/policy/engine.ts';
import { exactName, namePattern } from '../../dns-proxy/rules/name-pattern.ts';
import { takeInventory, type Inventory, type LabelledPod } from './inventory.ts';

/** Somebody who sends or gets traffic. */
export interface Peer {
  /** What the person called it. */
  readonly name: string;
  readonly identity: Identity;
  /** Has policies of its own: a pod, or the node. */
  readonly isEndpoint: boolean;
}

/** One packet's ports: the destination's, or an ICMP type. */
export interface FlowPort {
  /** IANA number. */
  readonly protocol: number;
  readonly port: number;
}

/** What one end of a flow says about it; absent where that end is nobody's endpoint. */
export interface FlowDecision {
  readonly egress?: LookupResult;
  readonly ingress?: LookupResult;
  /** Both ends agree. */
  readonly allowed: boolean;
}

/** The agent's default for both families. */
const FAMILIES = { ipv4: true, ipv6: true };

/** As an agent decides whose node is an endpoint: whoever asks about policies of nodes wants to know what they do. */
const OFFLINE_CONFIG: PolicyConfig = { ...DEFAULT_POLICY_CONFIG, hostFirewall: true };

export class OfflineCluster {
  readonly engine: PolicyEngine;
  readonly config: PolicyConfig;
  readonly #inventory: Inventory;
  readonly #identities = new Map<string, Identity>();
  readonly #namedPorts = new Map<IdentityId, NamedPort[]>();
  readonly #policies = new Map<IdentityId, EndpointPolicy>();
  #nextPod: number = IDENTITY_SCOPE.cluster.first;
  #nextLocal: number = IDENTITY_SCOPE.local.first + 1;

  /** @throws WeirError RESOURCE_INVALID, POLICY_INVALID naming object and field: nothing is decided on half a cluster. */
  constructor(resources: readonly Resource[], config: PolicyConfig = OFFLINE_CONFIG) {
    this.config = config;
    this.engine = createPolicyEngine(config);
    this.#inventory = takeInventory(resources, config.clusterName);
    const pods = this.#inventory.pods.map(({ labels }) => this.#podIdentity(labels));
    for (const { pod, labels } of this.#inventory.pods) {
      this.#namedPorts.set(this.#podIdentity(labels).id, [...pod.namedPorts]);
    }
    this.engine.apply({
      policies: policiesOf(resources),
      identities: [...RESERVED_IDENTITIES, ...new Set(pods)],
      namedPorts: Array.from(this.#namedPorts, ([identity, ports]) => ({ identity, ports })),
      cidrGroups: this.#inventory.cidrGroups.map((group) => ({ name: group.name, group })),
      services: this.#inventory.services.map((service) => ({
        namespace: service.namespace,
        name: service.name,
        service,
      })),
    });
    this.#settle();
  }

  get pods(): readonly LabelledPod[] {
    return this.#inventory.pods;
  }

  pod(namespace: string, name: string): Peer | undefined {
    const found = this.#inventory.pods.find(({ pod }) => pod.namespace === namespace && pod.name === name);
    return found === undefined ? undefined : this.#podPeer(found);
  }

  reserved(name: string): Peer | undefined {
    const identity = RESERVED_IDENTITIES.find(({ labels }) => labels[0]!.key === name);
    return identity && { name, identity, isEndpoint: name === 'host' };
  }

  /** A pod of no manifest, with these labels. */
  labelled(name: string, labels: readonly Label[]): Peer {
    const identity = this.#podIdentity(canonicalLabels(labels));
    this.engine.apply({ identities: [identity] });
    return { name, identity, isEndpoint: true };
  }

  /** The pod with that address, or whoever it is outside: the longest prefix that policies speak of (S21). */
  address(address: Address): Peer {
    const name = formatAddress(address);
    const pod = this.#inventory.pods.find(
      ({ pod: { addresses, hostNetwork } }) => !hostNetwork && addresses.some((own) => formatAddress(own) === name),
    );
    if (pod !== undefined) return { ...this.#podPeer(pod), name: `${name} (${podName(pod)})` };
    const covering = this.engine.demand().cidrs.filter((cidr) => cidrContains(cidr, address));
    const longest = covering.reduce<Cidr>((best, cidr) => (cidr.length > best.length ? cidr : best), world(address));
    return { name, identity: this.#localIdentity(cidrLabels(longest, FAMILIES)), isEndpoint: false };
  }

  /** An address outside that the name was resolved to: it carries every selector that the name matches (S22). */
  domain(name: string, family: 4 | 6 = 4): Peer {
    const text = exactName(name).text;
    const matching = this.engine
      .demand()
      .fqdns.filter(({ matchName, matchPattern = '' }) =>
        (matchName === undefined ? namePattern(matchPattern) : exactName(matchName)).matches(text),
      );
    const labels = matching.map(({ matchName, matchPattern = '' }) => ({
      source: 'fqdn',
      key: matchName ?? matchPattern,
      value: '',
    }));
    const worldLabels = cidrLabels(
      { address: { family, bytes: new Uint8Array(family === 4 ? 4 : 16) }, length: 0 },
      FAMILIES,
    );
    return { name, identity: this.#localIdentity(canonicalLabels([...labels, ...worldLabels])), isEndpoint: false };
  }

  /** A port of a pod by its name (S35). */
  portNamed({ identity }: Peer, name: string): FlowPort | undefined {
    return this.#namedPorts.get(identity.id)?.find((port) => port.name.toLowerCase() === name);
  }

  /** The policy of an endpoint. */
  policy({ identity }: Peer): EndpointPolicy {
    let policy = this.#policies.get(identity.id);
    if (policy === undefined) {
      const namedPorts = this.#namedPorts.get(identity.id) ?? [];
      policy = this.engine.endpointPolicy({ identity: identity.id, namedPorts });
      this.#policies.set(identity.id, policy);
    }
    return policy;
  }

  /** @throws WeirError POLICY_CONFLICT when the rules of an end contradict each other (S27). */
  decide(source: Peer, destination: Peer, { protocol, port }: FlowPort): FlowDecision {
    const ask = (end: Peer, direction: Direction, other: Peer): LookupResult | undefined => {
      if (!end.isEndpoint) return undefined;
      const policy = this.policy(end);
      if (policy.error !== undefined) throw policy.error;
      return policy.mapState.lookup(direction, other.identity.id, protocol, port);
    };
    const egress = ask(source, 'egress', destination);
    const ingress = ask(destination, 'ingress', source);
    return {
      ...(egress === undefined ? {} : { egress }),
      ...(ingress === undefined ? {} : { ingress }),
      allowed: [egress, ingress].every((end) => end === undefined || end.verdict === 'allow'),
    };
  }

  #podPeer(found: LabelledPod): Peer {
    const { hostNetwork } = found.pod;
    const name = podName(found);
    // A pod on the host's network is the host.
    if (hostNetwork) return { ...this.reserved('host')!, name: `${name} (host network)` };
    return { name, identity: this.#podIdentity(found.labels), isEndpoint: true };
  }

  #podIdentity(labels: readonly Label[]): Identity {
    return this.#identity(labels, () => this.#nextPod++);
  }

  #localIdentity(labels: readonly Label[]): Identity {
    const key = labelSetKey(labels);
    const reserved = RESERVED_IDENTITIES.find((identity) => labelSetKey(identity.labels) === key);
    if (reserved !== undefined) return reserved;
    const identity = this.#identity(labels, () => this.#nextLocal++);
    this.engine.apply({ identities: [identity] });
    this.#settle();
    return identity;
  }

  #identity(labels: readonly Label[], next: () => number): Identity {
    const key = labelSetKey(labels);
    const known = this.#identities.get(key);
    if (known !== undefined) return known;
    const identity = { id: identityId(next()), labels };
    this.#identities.set(key, identity);
    return identity;
  }

  #settle(): void {
    for (const _slice of this.engine.refresh());
  }
}

function podName({ pod }: LabelledPod): string {
  return `${pod.namespace}/${pod.name}`;
}

function world(address: Address): Cidr {
  return { address: { family: address.family, bytes: new Uint8Array(address.bytes.length) }, length: 0 };
}

function policiesOf(resources: readonly Resource[]) {
  return resources
    .filter(({ kind }) => isPolicyKind(kind))
    .map((resource) => {
      const key = resourceName(resource);
      const { rules, errors } = decodePolicy(resource.object, DEFAULT_DECODE_OPTIONS);
      if (errors === undefined) return { key, rules };
      const [first, ...more] = errors.map((issue) => formatIssue(issue, ''));
      const rest = more.length === 0 ? '' : `, and ${more.length} more`;
      throw new WeirError('POLICY_INVALID', `${first!}${rest}`, {
        object: key,
        remedy: 'see all of it with `weir policy validate`',
      });
    });
}
