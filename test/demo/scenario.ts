/** What the demo shows: pods, policies, and every connection that is tried with what should come of it. */
import { NODE_ADDRESSES, WORLD_ADDRESSES } from '../harness/node.ts';
import { namespaceManifest, podManifest } from '../harness/pod.ts';

/** Pods by name: namespace and labels. */
export const PODS = {
  web: { namespace: 'shop', labels: { app: 'web', tier: 'front' } },
  api: { namespace: 'shop', labels: { app: 'api', tier: 'back' } },
  db: { namespace: 'shop', labels: { app: 'db', tier: 'data' } },
  scanner: { namespace: 'tools', labels: { app: 'scanner' } },
  'kube-dns': { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
} as const;

export type PodName = keyof typeof PODS;
export type ActorName = PodName | 'host' | 'world';

/** Ports on which every pod, the node and the world serve TCP and UDP echo. */
export const SERVED_PORTS = [5432, 8080, 9005, 9090, 9099] as const;

/** Addresses of those that are no pods. */
export const FIXED_ADDRESSES = { host: NODE_ADDRESSES, world: WORLD_ADDRESSES } as const;

const API_POLICY = (client: string): string => `# Only ${client} may call the API, and may ping it.
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: api
  namespace: shop
spec:
  endpointSelector:
    matchLabels:
      app: api
  ingress:
    - fromEndpoints:
        - matchLabels:
            app: ${client}
      toPorts:
        - ports:
            - port: "8080"
              protocol: TCP
    - fromEndpoints:
        - matchLabels:
            app: ${client}
      icmps:
        - fields:
            - family: IPv4
              type: 8
            - family: IPv6
              type: 128
`;

const DB_POLICY = `# The API may use the database; whatever carries tier=front never may, whoever else allows it.
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: db
  namespace: shop
spec:
  endpointSelector:
    matchLabels:
      app: db
  ingress:
    - fromEndpoints:
        - matchExpressions:
            - key: tier
              operator: In
              values: [front, back]
      toPorts:
        - ports:
            - port: "5432"
              protocol: TCP
  ingressDeny:
    - fromEndpoints:
        - matchLabels:
            tier: front
`;

const SCANNER_POLICY = `# The scanner may leave the cluster only for a range of UDP ports of one host.
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata:
  name: scanner
spec:
  endpointSelector:
    matchLabels:
      app: scanner
  egress:
    - toCIDR:
        - ${WORLD_ADDRESSES.v4}/32
        - ${WORLD_ADDRESSES.v6}/128
      toPorts:
        - ports:
            - port: "9000"
              endPort: 9010
              protocol: UDP
`;

const NAMES_POLICY = `# The scanner may ask kube-dns for names of cilium.io, and go where the answers say.
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: names
  namespace: tools
spec:
  endpointSelector:
    matchLabels:
      app: scanner
  egress:
    - toEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: kube-system
            k8s:k8s-app: kube-dns
      toPorts:
        - ports:
            - port: "53"
              protocol: ANY
          rules:
            dns:
              - matchPattern: "*.cilium.io"
    - toFQDNs:
        - matchPattern: "*.cilium.io"
`;

/** Names of the world that kube-dns knows, with their addresses: no policy speaks of these. */
export const NAMES = {
  zone: 'cilium.io.',
  known: 'docs.cilium.io',
  unknown: 'www.example.com',
  addresses: { 4: '198.18.0.10', 6: '2001:db8:5::10' },
  /** Beside them, and of no name. */
  others: { 4: '198.18.0.11', 6: '2001:db8:5::11' },
} as const;

/** Manifests in force at the start, by file name. */
export const MANIFESTS: Readonly<Record<string, string>> = {
  '00-namespaces.yaml': ['shop', 'tools', 'kube-system'].map((name) => namespaceManifest(name)).join('---\n'),
  '10-pods.yaml': Object.entries(PODS)
    .map(([name, { namespace, labels }]) => podManifest(name, labels, namespace))
    .join('---\n'),
  '20-api.yaml': API_POLICY('web'),
  '20-db.yaml': DB_POLICY,
  '20-scanner.yaml': SCANNER_POLICY,
  '30-names.yaml': NAMES_POLICY,
};

/** The live change: from now on the database, and no longer the web front end, may call the API. */
export const CHANGE = { file: '20-api.yaml', text: API_POLICY('db') } as const;

/** A connection to try, over IPv4 and over IPv6. */
export interface Attempt {
  readonly from: ActorName;
  readonly to: ActorName;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  /** 0 for ICMP. */
  readonly port: number;
  readonly before: 'allow' | 'deny';
  /** What it should be after the change, when that differs. */
  readonly after?: 'allow' | 'deny';
}

export const ATTEMPTS: readonly Attempt[] = [
  { from: 'web', to: 'api', protocol: 'tcp', port: 8080, before: 'allow', after: 'deny' },
  { from: 'web', to: 'api', protocol: 'icmp', port: 0, before: 'allow', after: 'deny' },
  { from: 'web', to: 'api', protocol: 'tcp', port: 9090, before: 'deny' },
  { from: 'web', to: 'api', protocol: 'udp', port: 8080, before: 'deny' },
  { from: 'db', to: 'api', protocol: 'tcp', port: 8080, before: 'deny', after: 'allow' },
  { from: 'db', to: 'api', protocol: 'icmp', port: 0, before: 'deny', after: 'allow' },
  { from: 'api', to: 'db', protocol: 'tcp', port: 5432, before: 'allow' },
  { from: 'web', to: 'db', protocol: 'tcp', port: 5432, before: 'deny' },
  { from: 'scanner', to: 'web', protocol: 'tcp', port: 8080, before: 'deny' },
  { from: 'scanner', to: 'world', protocol: 'udp', port: 9005, before: 'allow' },
  { from: 'scanner', to: 'world', protocol: 'udp', port: 9099, before: 'deny' },
  { from: 'db', to: 'web', protocol: 'udp', port: 9099, before: 'allow' },
  { from: 'world', to: 'web', protocol: 'tcp', port: 8080, before: 'allow' },
  { from: 'world', to: 'api', protocol: 'tcp', port: 8080, before: 'deny' },
  { from: 'web', to: 'host', protocol: 'tcp', port: 8080, before: 'allow' },
  { from: 'host', to: 'api', protocol: 'tcp', port: 8080, before: 'allow' },
];
