/**
 * A simulated cluster as objects of its API: nodes, namespaces, identities, endpoints and policies, as large as objects of
 * real clusters are, and the 50 pods of the one node that is real. Pure: the same size gives the same cluster.
 */

export interface ClusterSize {
  readonly nodes: number;
  readonly endpoints: number;
  readonly identities: number;
  readonly policies: number;
  /** Pods of the node that is real. */
  readonly local: number;
}

export const FULL: ClusterSize = { nodes: 1_000, endpoints: 50_000, identities: 5_000, policies: 2_000, local: 50 };
export const SMALL: ClusterSize = { nodes: 10, endpoints: 500, identities: 100, policies: 40, local: 3 };

type Json = Readonly<Record<string, unknown>>;

/** Number of the first identity. */
const FIRST_IDENTITY = 1_000;

/** Identities of one namespace, at most: 25 apps in two versions. */
const IDENTITIES_EACH = 50;

/** The label by which policies select every local pod. */
export const LOCAL_LABEL = 'bench';

const CLUSTER_WIDE = { apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy' } as const;
const IN_NAMESPACE = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' } as const;

/** Whose app, version and namespace an identity stands for. */
export interface Workload {
  readonly id: number;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
}

export class SimulatedCluster {
  readonly size: ClusterSize;
  readonly namespaces: number;

  constructor(size: ClusterSize) {
    this.size = size;
    this.namespaces = Math.max(5, Math.ceil(size.identities / IDENTITIES_EACH));
  }

  workload(identity: number): Workload {
    const index = Math.floor(identity / this.namespaces);
    return {
      id: FIRST_IDENTITY + identity,
      namespace: `team-${identity % this.namespaces}`,
      app: `app-${index >> 1}`,
      version: `v${index & 1}`,
    };
  }

  /** Numbers of the identities of an app, wherever it runs, or in one namespace. */
  identitiesOf(app: string, namespace?: string): number[] {
    return Array.from({ length: this.size.identities }, (_, i) => this.workload(i))
      .filter((workload) => workload.app === app && (namespace === undefined || workload.namespace === namespace))
      .map(({ id }) => id);
  }

  /** Everything, in an order in which it could have been created. `node` is the real node. */
  *objects(node: string): Generator<Json> {
    const { size } = this;
    for (let i = 0; i < this.namespaces; i++) yield namespace(`team-${i}`);
    for (let i = 0; i < size.nodes; i++) yield* [nodeObject(i), ciliumNode(i)];
    for (let i = 0; i < size.identities; i++) yield identityObject(this.workload(i));
    for (let i = 0; i < size.endpoints; i++) yield this.endpoint(i);
    for (let i = 0; i < size.policies; i++) yield this.policy(i);
    for (let i = 0; i < size.local; i++) yield this.localPod(i, node);
  }

  /**
   * The `i`th endpoint of other nodes.
   *
   * @param place counts its changes of address and identity
   * @param pod counts the pods that were there before it: each has a name of its own
   */
  endpoint(i: number, place = 0, pod = 0): Json {
    const { size, namespaces } = this;
    const workload = this.workload((i + place * namespaces) % size.identities);
    const node = i % size.nodes;
    // A change takes an address that nobody has had for a while, as nodes do.
    const host = 2 + ((Math.floor(i / size.nodes) + place * Math.ceil(size.endpoints / size.nodes)) % 250);
    const name = `pod-${i.toString(36).padStart(5, '0')}-${pod}`;
    return endpointObject({ ...{ name, workload, node, host, uid: uid(0xe + pod, i) } });
  }

  /** The `i`th pod of the node that is real: ten namespaces, then the next app. */
  localPod(i: number, node: string): Json {
    const number = (2 * Math.floor(i / 10) * this.namespaces + (i % 10)) % this.size.identities;
    const { namespace: own, app, version } = this.workload(number);
    const labels = { app, version, tier: tierOf(app), [LOCAL_LABEL]: 'local', member: `local-${i}` };
    const containers = [{ name: 'main', image: 'registry.example/app:1', ports: [{ containerPort: 8080 }] }];
    return {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: `local-${i}`, namespace: own, labels } },
      spec: { nodeName: node, containers },
    };
  }

  /** Policies of teams: who may reach their apps; some speak of egress, of prefixes, of the whole cluster. */
  policy(i: number): Json {
    const team = i % this.namespaces;
    const turn = Math.floor(i / this.namespaces);
    const metadata = { name: `policy-${i}`, namespace: `team-${team}` };
    const next = {
      matchLabels: { app: `app-${(turn + 1) % 25}`, [NAMESPACE]: `team-${(team + 1) % this.namespaces}` },
    };
    const own = { matchLabels: { app: `app-${(turn + 7) % 25}` } };
    const subject = { endpointSelector: { matchLabels: { app: `app-${turn % 25}` } } };
    if (turn % 20 === 0)
      return { ...IN_NAMESPACE, metadata, spec: { endpointSelector: {}, ingress: [{ fromEndpoints: [{}] }] } };
    if (turn % 20 === 1) return networkPolicy(metadata, turn);
    if (turn % 20 === 2) {
      const spec = {
        endpointSelector: { matchLabels: { app: `app-${i % 25}`, tier: 'front' } },
        ingress: [{ fromEntities: ['host'] }],
      };
      return { ...CLUSTER_WIDE, metadata: { name: `policy-${i}` }, spec };
    }
    const ingress = [{ fromEndpoints: [next, own], toPorts: [{ ports: [tcp(8080 + turn)] }] }];
    // Local pods, of the first apps, are free in what they send: the bench turns that on.
    const egress = [{ toCIDRSet: [{ cidr: `198.51.${team % 256}.0/24`, except: [`198.51.${team % 256}.128/25`] }] }];
    return { ...IN_NAMESPACE, metadata, spec: { ...subject, ingress, ...(turn > 10 && { egress }) } };
  }
}

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';

const tierOf = (app: string): string => (Number(app.slice(4)) % 5 === 0 ? 'front' : 'back');

const tcp = (port: number) => ({ port: String(port), protocol: 'TCP' });

/**
 * A policy for every local pod, or for the first alone, that lets an app through at one port: wherever it runs, or in one
 * namespace.
 */
export function probePolicy(options: {
  readonly name: string;
  readonly everyLocal: boolean;
  readonly direction: 'ingress' | 'egress';
  readonly app: string;
  readonly namespace?: string;
  readonly port: number;
}): Json {
  const { name, everyLocal, direction, app, namespace: where, port } = options;
  const endpointSelector = { matchLabels: everyLocal ? { [LOCAL_LABEL]: 'local' } : { member: 'local-0' } };
  const rule = { toPorts: [{ ports: [tcp(port)] }] };
  const peers = [{ matchLabels: { app, ...(where !== undefined && { [NAMESPACE]: where }) } }];
  const spec =
    direction === 'ingress'
      ? { endpointSelector, ingress: [{ fromEndpoints: peers, ...rule }] }
      : { endpointSelector, egress: [{ toEndpoints: peers, ...rule }] };
  return { ...CLUSTER_WIDE, metadata: { name }, spec };
}

function namespace(name: string): Json {
  const labels = { 'kubernetes.io/metadata.name': name };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

const nodeName = (i: number): string => `worker-${String(i).padStart(4, '0')}`;
const nodeIp = (i: number): string => `100.64.${i >> 8}.${i & 255}`;
const nodeIp6 = (i: number): string => `fd00:64::${(i + 1).toString(16)}`;
const podIp = (node: number, host: number): string => `10.${64 + (node >> 8)}.${node & 255}.${host}`;
const podIp6 = (node: number, host: number): string => `fd00:10:${(node + 1).toString(16)}::${host.toString(16)}`;

/** A uid that says what it is of. */
const uid = (kind: number, i: number): string =>
  `${kind.toString(16).padStart(8, '0')}-0000-4000-8000-${i.toString(16).padStart(12, '0')}`;

function nodeObject(i: number): Json {
  const labels = { 'kubernetes.io/hostname': nodeName(i), 'topology.kubernetes.io/zone': `zone-${i % 3}` };
  const podCIDRs = podCidrs(i);
  const images = Array.from({ length: 20 }, (_, image) => ({
    names: [`registry.example/team/image-${image}@sha256:${'0123456789abcdef'.repeat(4)}`],
    sizeBytes: 100_000_000 + image,
  }));
  const addresses = [...[nodeIp(i), nodeIp6(i)].map((address) => ({ type: 'InternalIP', address }))];
  return {
    ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName(i), labels } },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: { addresses: [...addresses, { type: 'Hostname', address: nodeName(i) }], images },
  };
}

const podCidrs = (i: number): string[] => [`${podIp(i, 0)}/24`, `${podIp6(i, 0).slice(0, -1)}/64`];

function ciliumNode(i: number): Json {
  const internal = [nodeIp(i), nodeIp6(i)].map((ip) => ({ type: 'InternalIP', ip }));
  const router = [podIp(i, 1), podIp6(i, 1)].map((ip) => ({ type: 'CiliumInternalIP', ip }));
  return {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name: nodeName(i) } },
    spec: { addresses: [...internal, ...router], ipam: { podCIDRs: podCidrs(i) } },
  };
}

function securityLabels({ namespace: own, app, version }: Workload): Record<string, string> {
  return {
    'k8s:app': app,
    'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': own,
    'k8s:io.cilium.k8s.policy.cluster': 'default',
    'k8s:io.cilium.k8s.policy.serviceaccount': 'default',
    [NAMESPACE]: own,
    'k8s:tier': tierOf(app),
    'k8s:version': version,
  };
}

function identityObject(workload: Workload): Json {
  const labels = { 'app.kubernetes.io/component': 'bench', 'io.kubernetes.pod.namespace': workload.namespace };
  const metadata = { name: String(workload.id), labels };
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata, 'security-labels': securityLabels(workload) };
}

function endpointObject(options: {
  readonly name: string;
  readonly workload: Workload;
  readonly node: number;
  readonly host: number;
  readonly uid: string;
}): Json {
  const { name, workload, node, host } = options;
  const labels = Object.entries(securityLabels(workload)).map(([key, value]) => `${key}=${value}`);
  return {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint' },
    // Without an owner: its pod is not simulated, and the server would collect it.
    metadata: { name, namespace: workload.namespace },
    status: {
      id: 100 + host,
      'external-identifiers': {
        'container-id': `${options.uid}${options.uid}`.replaceAll('-', ''),
        'cni-attachment-id': `${options.uid.replaceAll('-', '')}:eth0`,
        'k8s-namespace': workload.namespace,
        'k8s-pod-name': name,
        'pod-name': `${workload.namespace}/${name}`,
      },
      identity: { id: workload.id, labels },
      networking: { addressing: [{ ipv4: podIp(node, host), ipv6: podIp6(node, host) }], node: nodeIp(node) },
      encryption: {},
      policy: { ingress: { enforcing: true }, egress: { enforcing: false } },
      'named-ports': [{ name: 'http', port: 8080, protocol: 'TCP' }],
      state: 'ready',
    },
  };
}

function networkPolicy(metadata: Json, turn: number): Json {
  const podSelector = { matchLabels: { app: `app-${turn % 25}` } };
  const from = [{ namespaceSelector: {}, podSelector: { matchLabels: { app: `app-${(turn + 3) % 25}` } } }];
  const ports = [{ port: 9090, protocol: 'TCP' }];
  const spec = { podSelector, policyTypes: ['Ingress'], ingress: [{ from, ports }] };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}
