/** What one service asks for, before it is known what others ask for: pure, without numbers. */
import { addressEquals, formatAddress, isUnspecified, type Address, type Cidr } from '../model/address.ts';
import type { Port } from '../model/port.ts';
import { socketKey } from '../model/service.ts';
import type { BackendState, FrontendKind, HostPort, Socket, TrafficPolicy } from '../model/service.ts';
import type { LbNode, LbPod, LbService, LbServicePort, LbSlice, LbSliceEndpoint, ServiceHealth } from './service.ts';

/** A place where a connection may come out, as one service's slices describe it. */
export interface BackendDraft extends Socket {
  readonly key: string;
  readonly state: BackendState;
  readonly node: string | undefined;
  readonly zone: string | undefined;
}

/** One address and port that a service wants to answer at. */
export interface FrontendDraft extends Socket {
  readonly key: string;
  readonly kind: FrontendKind;
  readonly service: string;
  readonly portName: string;
  readonly internalTrafficPolicy: TrafficPolicy;
  readonly externalTrafficPolicy: TrafficPolicy;
  /** Keys of backends, sorted. */
  readonly backends: readonly string[];
  readonly externalBackends: readonly string[];
  readonly affinitySeconds: number;
  readonly sourceRanges: readonly Cidr[] | undefined;
}

/** All that one service asks for. */
export interface ServiceDraft {
  readonly frontends: readonly FrontendDraft[];
  readonly backends: readonly BackendDraft[];
  /** Present when load balancers ask for it. */
  readonly health?: ServiceHealth;
}

export const NOTHING: ServiceDraft = { frontends: [], backends: [] };

/**
 * A service and its slices as frontends and backends. A headless service and one that is only another name have neither:
 * their names lead to addresses that need no translation.
 *
 * @param name `namespace/name`
 */
export function draftService(name: string, service: LbService, slices: readonly LbSlice[], node: LbNode): ServiceDraft {
  if (service.headless || service.type === 'ExternalName') return NOTHING;
  const frontends = new Map<string, FrontendDraft>();
  const backends = new Map<string, BackendDraft>();
  for (const port of service.ports) {
    const behind = { 4: backendsBehind(port, slices, 4), 6: backendsBehind(port, slices, 6) };
    for (const backend of [...behind[4], ...behind[6]]) keep(backends, backend);
    for (const { kind, address, number } of addressesOf(service, port, node)) {
      const socket = { address, port: number, protocol: port.protocol };
      const key = socketKey(socket);
      // The first kind that claims an address of its own service keeps it.
      if (frontends.has(key)) continue;
      const candidates = behind[address.family];
      const [inside, outside] = policies(service, kind, address);
      frontends.set(key, {
        ...socket,
        key,
        kind,
        service: name,
        portName: port.name,
        internalTrafficPolicy: service.internalTrafficPolicy,
        externalTrafficPolicy: service.externalTrafficPolicy,
        backends: choose(candidates, inside, node),
        externalBackends: choose(candidates, outside, node),
        affinitySeconds: service.sessionAffinitySeconds ?? 0,
        sourceRanges: kind === 'LoadBalancer' ? rangesOf(service) : undefined,
      });
    }
  }
  const health = healthOf(service, slices, node);
  return { frontends: [...frontends.values()], backends: [...backends.values()], ...(health && { health }) };
}

/** Ready endpoints on this node, each once, whichever families it has; what terminates is to get no new clients (KEP-1669). */
function healthOf(service: LbService, slices: readonly LbSlice[], node: LbNode): ServiceHealth | undefined {
  const { type, externalTrafficPolicy, healthCheckNodePort } = service;
  if (healthCheckNodePort === undefined || type !== 'LoadBalancer' || externalTrafficPolicy !== 'Local')
    return undefined;
  const ready = ([4, 6] as const).map((family) => {
    const local = slices
      .filter((slice) => slice.family === family)
      .flatMap(({ endpoints }) => endpoints.filter((endpoint) => endpoint.ready && endpoint.nodeName === node.name));
    return new Set(local.flatMap(({ addresses }) => addresses.slice(0, 1).map(formatAddress))).size;
  });
  return { port: healthCheckNodePort, localEndpoints: Math.max(...ready) };
}

/**
 * A pod's host ports as frontends at this node's addresses, which lead to it alone.
 *
 * @param name `namespace/name`
 */
export function draftPod(name: string, { addresses, hostPorts }: LbPod, node: LbNode): ServiceDraft {
  const frontends = new Map<string, FrontendDraft>();
  const backends = new Map<string, BackendDraft>();
  for (const hostPort of hostPorts) {
    const { hostPort: number, containerPort, protocol } = hostPort;
    for (const own of addresses) {
      const socket = { address: own, port: containerPort, protocol };
      const backend: BackendDraft = {
        ...{ ...socket, key: socketKey(socket), state: 'active', node: node.name, zone: undefined },
      };
      for (const address of hostAddresses(hostPort, node, own.family)) {
        const asked = { address, port: number, protocol };
        const key = socketKey(asked);
        backends.set(backend.key, backend);
        frontends.set(key, {
          ...{ ...asked, key, kind: 'HostPort', service: `${name}/host-port/${number}`, portName: '' },
          ...{ internalTrafficPolicy: 'Cluster', externalTrafficPolicy: 'Cluster', affinitySeconds: 0 },
          ...{ backends: [backend.key], externalBackends: [backend.key], sourceRanges: undefined },
        });
      }
    }
  }
  return { frontends: [...frontends.values()], backends: [...backends.values()] };
}

/** Where it answers: at what it names, or at all of this node, and only of this node. */
function hostAddresses({ hostAddress }: HostPort, node: LbNode, family: 4 | 6): readonly Address[] {
  if (hostAddress !== undefined && !isUnspecified(hostAddress))
    return hostAddress.family === family ? [hostAddress] : [];
  if (hostAddress !== undefined && hostAddress.family !== family) return [];
  return node.addresses.filter((address) => address.family === family && !isUnspecified(address));
}

/** No ranges mean everybody; Kubernetes has no way to say nobody. */
function rangesOf({ loadBalancerSourceRanges: ranges }: LbService): readonly Cidr[] | undefined {
  return ranges.length === 0 ? undefined : ranges;
}

/**
 * Traffic policies for clients on this node and for clients from outside. What reaches an external address from inside the
 * cluster never needs the address of its client kept, so it may go anywhere, as with kube-proxy.
 */
function policies(
  service: LbService,
  kind: FrontendKind,
  address: Address,
): [inside: TrafficPolicy, outside: TrafficPolicy] {
  if (kind === 'ClusterIP') return [service.internalTrafficPolicy, service.internalTrafficPolicy];
  // Other nodes' clients from outside come to those nodes.
  if (isUnspecified(address)) return ['Cluster', 'Cluster'];
  return ['Cluster', service.externalTrafficPolicy];
}

interface Claim {
  readonly kind: FrontendKind;
  readonly address: Address;
  readonly number: Port;
}

/** In the order of precedence. */
function addressesOf(service: LbService, port: LbServicePort, node: LbNode): Claim[] {
  const at = (kind: FrontendKind, addresses: readonly Address[], number = port.port): Claim[] =>
    addresses.map((address) => ({ kind, address, number }));
  return [
    ...at('ClusterIP', service.clusterAddresses),
    ...(service.type === 'LoadBalancer' ? at('LoadBalancer', service.loadBalancerAddresses) : []),
    ...at('ExternalIPs', service.externalAddresses),
    ...(service.type === 'ClusterIP' || port.nodePort === undefined
      ? []
      : at('NodePort', node.addresses, port.nodePort)),
  ];
}

function backendsBehind(port: LbServicePort, slices: readonly LbSlice[], family: 4 | 6): BackendDraft[] {
  const found = new Map<string, BackendDraft>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (const slicePort of slice.ports) {
      if (slicePort.name !== port.name || slicePort.protocol !== port.protocol) continue;
      const number = slicePort.port ?? numericTarget(port);
      for (const endpoint of slice.endpoints) {
        for (const backend of backendsAt(endpoint, number, port.protocol)) keep(found, backend);
      }
    }
  }
  return [...found.values()];
}

/** A slice that leaves the port open says that the backend answers at whatever port the service names. */
function numericTarget({ targetPort, port }: LbServicePort): Port {
  return typeof targetPort === 'string' ? port : targetPort;
}

/** Kubernetes: the addresses of an endpoint are interchangeable, and consumers use the first. */
function backendsAt(endpoint: LbSliceEndpoint, port: Port, protocol: number): BackendDraft[] {
  const address = endpoint.addresses[0];
  if (address === undefined) return [];
  const socket = { address, port, protocol };
  const { nodeName: node, zone } = endpoint;
  return [{ ...socket, key: socketKey(socket), state: stateOf(endpoint), node, zone }];
}

function stateOf({ ready, serving, terminating }: LbSliceEndpoint): BackendState {
  if (ready) return 'active';
  return serving && terminating ? 'terminating' : 'unready';
}

const RANK: Readonly<Record<BackendState, number>> = { active: 0, terminating: 1, unready: 2 };

/** While an endpoint moves between slices it stands in two of them: the better word counts. */
export function betterBackend(a: BackendDraft, b: BackendDraft): BackendDraft {
  if (RANK[a.state] !== RANK[b.state]) return RANK[a.state] < RANK[b.state] ? a : b;
  return `${a.node}\0${a.zone}` <= `${b.node}\0${b.zone}` ? a : b;
}

function keep(found: Map<string, BackendDraft>, backend: BackendDraft): void {
  const other = found.get(backend.key);
  found.set(backend.key, other === undefined ? backend : betterBackend(other, backend));
}

/** Whoever is ready; if nobody is, whoever still serves while it terminates (KEP-1669). */
function choose(candidates: readonly BackendDraft[], policy: TrafficPolicy, node: LbNode): string[] {
  const eligible = policy === 'Local' ? candidates.filter((backend) => backend.node === node.name) : candidates;
  const active = eligible.filter(({ state }) => state === 'active');
  const chosen = active.length > 0 ? active : eligible.filter(({ state }) => state === 'terminating');
  return chosen.map(({ key }) => key).sort();
}

export function sameNode(a: LbNode, b: LbNode): boolean {
  return (
    a.name === b.name &&
    a.addresses.length === b.addresses.length &&
    a.addresses.every((address, i) => addressEquals(address, b.addresses[i]!))
  );
}
