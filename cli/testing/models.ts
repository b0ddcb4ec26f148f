/** A small node, as its agent would describe it. For tests. */
import type {
  AffinityMapFields,
  BackendMapFields,
  BandwidthMapFields,
  BPFMap,
  ConntrackMapFields,
  DaemonConfiguration,
  DebugInfo,
  DNSLookup,
  Endpoint,
  EndpointMapFields,
  EndpointStatusLog,
  HealthStatusResponse,
  Identity,
  IpcacheMapFields,
  IPListEntry,
  MetricsMapFields,
  NodeElement,
  MonitorEvent,
  NameManager,
  Policy,
  PolicyExplanation,
  PolicyMapFields,
  SelectorCache,
  Service,
  ServiceMapFields,
  SourceRangeMapFields,
  StatusResponse,
} from '../../agent/api/models.ts';

const WEB = ['k8s:app=web', 'k8s:io.cilium.k8s.policy.serviceaccount=default', 'k8s:io.kubernetes.pod.namespace=shop'];
const CLIENT = ['k8s:app=client', 'k8s:io.kubernetes.pod.namespace=shop'];

export const IDENTITIES: readonly Identity[] = [
  { id: 16777217, labels: ['cidr:192.0.2.0/24', 'reserved:world'] },
  { id: 1, labels: ['reserved:host'] },
  { id: 2, labels: ['reserved:world'] },
  { id: 256, labels: WEB },
  { id: 257, labels: CLIENT },
];

export const ENDPOINTS: readonly Endpoint[] = [
  {
    id: 2107,
    status: {
      state: 'regenerating',
      identity: { id: 257, labels: CLIENT },
      labels: { 'security-relevant': CLIENT },
      policy: { realized: { 'policy-enabled': 'none' } },
      networking: { addressing: [{ ipv4: '10.244.0.12', ipv6: 'fd00:10:244::c' }] },
      'external-identifiers': { 'pod-name': 'shop/client', 'container-id': 'c2' },
    },
  },
  {
    id: 42,
    status: {
      state: 'ready',
      identity: { id: 256, labels: WEB },
      labels: { 'security-relevant': WEB },
      policy: {
        realized: { 'policy-enabled': 'ingress' },
        'audited-policies': { ingress: [], egress: ['CiliumNetworkPolicy shop/no-mail'] },
      },
      networking: { addressing: [{ ipv4: '10.244.0.7', ipv6: 'fd00:10:244::7' }] },
      'external-identifiers': { 'pod-name': 'shop/web-0', 'container-id': 'c1' },
    },
  },
  { id: 99, status: { state: 'waiting-for-identity', networking: {} } },
];

export const ENDPOINT_LOG: EndpointStatusLog = [
  { timestamp: '2026-11-23T10:00:02Z', code: 'ok', state: 'ready', message: 'Completed endpoint regeneration' },
  { timestamp: '2026-11-23T10:00:01Z', code: 'failed', state: 'regenerating', message: 'the policy map is full' },
];

export const POLICY_MAP: readonly PolicyMapFields[] = [
  entry({ direction: 'egress', identity: 0 }),
  entry({ identity: 257, protocol: 6, port: 8080, 'port-prefix-length': 16, packets: 12, bytes: 960, cookie: 3 }),
  entry({ identity: 16777217, protocol: 17, port: 8000, 'port-prefix-length': 10, deny: true, cookie: 4 }),
  entry({ identity: 1 }),
  entry({ identity: 257, protocol: 6, port: 80, 'port-prefix-length': 16, 'proxy-port': 12345, 'auth-type': 1 }),
  entry({ identity: 257, protocol: 17, audited: true }),
  entry({ identity: 9999, protocol: 1, port: 8, 'port-prefix-length': 16 }),
];

function entry(fields: Partial<PolicyMapFields>): PolicyMapFields {
  return {
    direction: 'ingress',
    identity: 0,
    protocol: 0,
    port: 0,
    'port-prefix-length': 0,
    deny: false,
    audited: false,
    'proxy-port': 0,
    'auth-type': 0,
    'auth-explicit': false,
    precedence: 0,
    cookie: 0,
    ...fields,
  };
}

export const IPCACHE: readonly IpcacheMapFields[] = [
  { prefix: '10.244.0.7/32', identity: 256 },
  { prefix: '0.0.0.0/0', identity: 2 },
  { prefix: '192.0.2.0/24', identity: 16777217, 'tunnel-endpoint': '198.51.100.4' },
];

export const ENDPOINT_MAP: readonly EndpointMapFields[] = [
  {
    ip: '10.244.0.7',
    id: 42,
    ifindex: 5,
    mac: '0a:11:22:33:44:55',
    'host-mac': '0e:aa:bb:cc:dd:ee',
    identity: 256,
  },
  { ip: '10.244.0.1', id: 0, ifindex: 0, mac: '', 'host-mac': '', identity: 1, host: true },
];

export const SERVICES: readonly Service[] = [
  service(2, { ip: '198.51.100.7', scope: 'external' }, 'LoadBalancer', ['10.244.0.7']),
  service(2, { ip: '198.51.100.7', scope: 'internal' }, 'LoadBalancer', ['10.244.0.7', '10.244.1.9']),
  service(1, { ip: 'fd00:96::1', scope: 'external' }, 'ClusterIP', []),
];

export const SERVICE_MAP: readonly ServiceMapFields[] = [
  { frontend: '198.51.100.7:80/TCP', slot: 1, scope: 'external', backend: 4 },
  {
    ...{ frontend: '198.51.100.7:80/TCP', slot: 0, scope: 'external', id: 2, count: 1, type: 'LoadBalancer' },
    flags: 'Local, two-scopes',
  },
  { frontend: '10.96.0.1:80/TCP', slot: 2, scope: 'internal', backend: 9 },
  { frontend: '10.96.0.1:80/TCP', slot: 1, scope: 'internal', backend: 4 },
  {
    ...{ frontend: '10.96.0.1:80/TCP', slot: 0, scope: 'internal', id: 1, count: 2, type: 'ClusterIP' },
    ...{ flags: 'sessionAffinity, non-routable', 'affinity-seconds': 10800 },
  },
];

export const BACKEND_MAP: readonly BackendMapFields[] = [{ id: 4, socket: '10.244.0.7:8080/TCP', state: 'active' }];

export const AFFINITY_MAP: readonly AffinityMapFields[] = [
  { client: 'netns 4711', service: 1, backend: 4, 'used-seconds-ago': 3 },
];

export const BANDWIDTH_MAP: readonly BandwidthMapFields[] = [
  { endpoint: 42, direction: 'ingress', 'bits-per-second': 1_500_000, 'burst-bytes': 46_875 },
  { endpoint: 42, direction: 'egress', 'bits-per-second': 10_000_000, 'burst-bytes': 312_500 },
];

export const SOURCE_RANGE_MAP: readonly SourceRangeMapFields[] = [{ service: 2, range: '192.0.2.0/24' }];

function service(
  id: number,
  frontend: { readonly ip: string; readonly scope: 'external' | 'internal' },
  type: 'ClusterIP' | 'LoadBalancer',
  backends: readonly string[],
): Service {
  const spec = {
    id,
    'frontend-address': { ...frontend, port: 80, protocol: 'TCP' },
    'backend-addresses': backends.map((ip) => ({ ip, port: 8080, protocol: 'TCP', state: 'active' as const })),
    flags: { name: 'web', namespace: 'shop', type },
  };
  return { spec, status: { realized: spec } };
}

export const CONNTRACK4: readonly ConntrackMapFields[] = [
  {
    direction: 'ingress',
    protocol: 6,
    local: '10.244.0.7',
    'local-port': 8080,
    remote: '10.244.0.12',
    'remote-port': 41000,
    'expires-in': 21599.6,
    'forward-packets': 6,
    'forward-bytes': 480,
    'reply-packets': 4,
    'reply-bytes': 2000,
    'peer-identity': 257,
    cookie: 3,
    'proxy-port': 0,
    flags: 'SeenNonSyn',
  },
];

export const CONNTRACK6: readonly ConntrackMapFields[] = [
  {
    direction: 'egress',
    protocol: 17,
    local: 'fd00:10:244::c',
    'local-port': 5000,
    remote: '2001:db8::1',
    'remote-port': 53,
    'expires-in': 30,
    'forward-packets': 1,
    'forward-bytes': 70,
    'reply-packets': 0,
    'reply-bytes': 0,
    'peer-identity': 2,
    cookie: 0,
    'proxy-port': 10001,
    flags: '',
  },
];

export const METRICS: readonly MetricsMapFields[] = [
  { reason: 'Success', direction: 'ingress', packets: 120, bytes: 9000 },
  { reason: 'Policy denied', direction: 'ingress', packets: 3, bytes: 222 },
  { reason: 'Success', direction: 'egress', packets: 99, bytes: 8000 },
];

/** A map as the agent dumps it. */
export function mapOf(name: string, entries: readonly Readonly<Record<string, string | number | boolean>>[]): BPFMap {
  const cache = entries.map((fields, i) => ({ key: `key ${i}`, value: `value ${i}`, fields }));
  return { path: `/sys/fs/bpf/weir/${name}`, cache };
}

export const IPS: readonly IPListEntry[] = [
  { cidr: '10.244.0.7/32', identity: 256, hostIP: '192.0.2.1', metadata: { source: 'agent-local', name: 'web-0' } },
  { cidr: '0.0.0.0/0', identity: 2, metadata: { source: 'generated' } },
];

/** Egress is open; ingress is denied by default, and one rule comes near. */
export function explanation(direction: string): PolicyExplanation {
  const origin = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'web', uid: '' };
  const matched = { matched: true, text: 'all', distance: 0 };
  const near = {
    ...{ origin: { ...origin, path: 'spec.ingress[0]' }, action: 'allow', subject: matched, port: matched },
    peer: { matched: false, text: 'app=admin; there is client', distance: 1 },
    role: 'no match',
  };
  const question = { direction, protocol: 6, port: 80, subject: IDENTITIES[3], peer: IDENTITIES[4] };
  return direction === 'egress'
    ? { question, verdict: 'allow', enforced: false, defaultDeny: [], considered: [] }
    : {
        ...{ question, verdict: 'default-deny', enforced: true, considered: [near], nearest: near },
        defaultDeny: [{ ...origin, path: 'spec' }],
      };
}

export const SELECTORS: SelectorCache = [
  {
    selector: '{"matchLabels":{"any:app":"web"}}',
    identities: [256],
    users: 2,
    labels: [
      { source: 'k8s', key: 'io.cilium.k8s.policy.name', value: 'web' },
      { source: 'k8s', key: 'io.cilium.k8s.policy.namespace', value: 'shop' },
    ],
  },
  { selector: '{"matchLabels":{"any:app":"none"}}', identities: [], users: 1 },
  { selector: 'cidr:192.0.2.0/24', identities: [2, 16777217], users: 1, labels: [] },
];

export const NODES: readonly NodeElement[] = [
  {
    ...{ name: 'default/n1', source: 'local' },
    'primary-address': {
      ipv4: { enabled: true, ip: '192.0.2.1', 'alloc-range': '10.244.0.0/24' },
      ipv6: { enabled: true, ip: '2001:db8::1', 'alloc-range': 'fd00:10:244::/64' },
    },
  },
  {
    ...{ name: 'default/n2', source: 'custom-resource' },
    'primary-address': {
      ipv4: { enabled: true, ip: '192.0.2.2', 'alloc-range': '10.244.1.0/24' },
      ipv6: { enabled: false },
    },
  },
];

const answered = (latency: number) => ({ latency, status: '', lastProbed: '2026-11-23T09:59:58Z' });

export const HEALTH: HealthStatusResponse = {
  ...{ timestamp: '2026-11-23T10:00:00Z', probeInterval: '1m5.92s', local: { name: 'default/n1' } },
  nodes: [
    {
      name: 'default/n1',
      host: { 'primary-address': { ip: '192.0.2.1', icmp: answered(52_300), http: answered(1_204_000) } },
      'health-endpoint': { 'primary-address': { ip: '10.244.0.9', icmp: answered(61_000), http: answered(980_400) } },
    },
    {
      name: 'default/n2',
      host: {
        'primary-address': { ip: '192.0.2.2', icmp: answered(412_500), http: answered(2_100_000) },
        'secondary-addresses': [{ ip: '2001:db8::2' }],
      },
      'health-endpoint': {
        'primary-address': {
          ip: '10.244.1.4',
          icmp: { status: 'no answer to 3 echoes of 1500 ms', lastProbed: '2026-11-23T10:00:00Z' },
          http: { status: 'no answer in 5000 ms', lastProbed: '2026-11-23T10:00:00Z' },
        },
      },
    },
  ],
};

export const STATUS: StatusResponse = {
  cilium: { state: 'Ok', msg: 'OK' },
  kubernetes: { state: 'Disabled', msg: 'manifests from /etc/weir/manifests' },
  version: '0.1.0',
  'ready-since': '2026-11-23T09:00:00Z',
  nodeMonitor: { cpus: 2, npages: 1024, pagesize: 4096, lost: 3, unknown: 0 },
  ipam: {
    status: 'IPv4: 3/254 allocated from 10.244.0.0/24',
    allocations: { '10.244.0.7': 'shop/web-0', '10.244.0.1': 'router' },
  },
  cluster: {
    ...{ self: 'default/n1', nodes: NODES },
    ciliumHealth: { state: 'Ok', msg: '1/2 reachable, unreachable: n2 (endpoint)' },
  },
  routing: { 'inter-host-routing-mode': 'Tunnel', 'tunnel-protocol': 'vxlan' },
  'host-routing': { mode: 'BPF' },
  masquerading: { enabled: false },
  controllers: [
    { name: 'ipcache-sync', status: { 'success-count': 4, 'last-success-timestamp': '2026-11-23T10:00:00Z' } },
    {
      name: 'endpoint-gc',
      status: {
        'consecutive-failure-count': 2,
        'last-failure-timestamp': '2026-11-23T09:59:00Z',
        'last-failure-msg': 'no space left on device',
      },
    },
  ],
  'identity-range': { 'min-identity': 256, 'max-identity': 65535 },
  endpoints: { ready: 2, regenerating: 1 },
  'bpf-maps': { maps: [{ name: 'weir_ipcache', size: 524288 }] },
};

export const CONFIG: DaemonConfiguration = {
  status: {
    realized: { 'policy-enforcement': 'default', options: { PolicyAuditMode: 'Disabled', Debug: 'Disabled' } },
    immutable: { EnableIPv4: 'Enabled' },
    daemonConfigurationMap: { 'node-name': 'node1', mtu: 1500 },
  },
};

const rule = (name: string, path: string, stanzas: readonly unknown[], more: object = {}): object => ({
  origin: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name, uid: '', path },
  tier: 'normal',
  priority: 0,
  subject: { kind: 'endpoint', selector: { requirements: [{ key: 'any:app', operator: 'In', values: [name] }] } },
  stanzas,
  defaultDeny: { ingress: true, egress: false },
  selects: { ingress: true, egress: false },
  ...more,
});
const tcp = (port: number, endPort = port): object => ({ protocol: 6, port: { kind: 'number', port, endPort } });
const prefix = (address: string, length: number): object => ({ address, length });

/** As the agent writes it: addresses as text. */
export const POLICY: Policy = {
  revision: 7,
  policy: JSON.stringify([
    {
      name: 'CiliumNetworkPolicy shop/web',
      rules: [
        rule('web', 'spec', [
          {
            direction: 'ingress',
            action: 'allow',
            peers: [
              {
                kind: 'labels',
                selector: {
                  requirements: [
                    { key: 'any:app', operator: 'In', values: ['client'] },
                    { key: 'k8s:io.kubernetes.pod.namespace', operator: 'In', values: ['shop'] },
                  ],
                },
              },
            ],
            ports: [{ ...tcp(8080), l7: { parser: 'http', rules: [] } }, tcp(9000, 9100)],
          },
          { direction: 'ingress', action: 'deny', peers: [{ kind: 'entity', entity: 'world' }] },
        ]),
      ],
    },
    {
      name: 'CiliumNetworkPolicy shop/db',
      rules: [
        rule('db', 'specs[0]', [], { audited: true }),
        rule('db', 'specs[1]', [
          {
            direction: 'egress',
            action: 'allow',
            peers: [{ kind: 'cidr', cidr: prefix('10.0.0.0', 8), except: [prefix('10.1.0.0', 16)] }],
          },
          {
            direction: 'egress',
            action: 'allow',
            peers: [{ kind: 'fqdn', matchName: 'example.com.' }],
            auth: 'required',
          },
        ]),
      ],
    },
  ]),
};

export const DEBUG_INFO: DebugInfo = {
  'cilium-version': '0.1.0',
  'kernel-version': '6.18.0',
  'cilium-status': STATUS,
  'endpoint-list': ENDPOINTS.slice(1, 2),
  policy: POLICY,
  'environment-variables': ['WEIR_LOG_LEVEL=debug'],
  subsystem: { manifests: 'no issues' },
};

const web = { ip: '10.244.0.7', port: 8080, identity: 256, labels: WEB, pod: 'shop/web-0' };
const client = { ip: '10.244.0.12', port: 41000, identity: 257, labels: CLIENT, pod: 'shop/client' };
const world = { ip: '2001:db8::1', port: 0, identity: 2, labels: ['reserved:world'] };

export const EVENTS: readonly MonitorEvent[] = [
  {
    type: 'policy-verdict',
    time: '2026-11-23T10:00:00.000000001Z',
    endpoint: 42,
    direction: 'ingress',
    source: client,
    destination: web,
    protocol: 'TCP',
    tcpFlags: ['SYN'],
    reason: 'L3-L4',
    verdict: 'allow',
    ifindex: 5,
    length: 74,
    policies: ['CiliumNetworkPolicy shop/web'],
  },
  {
    type: 'trace',
    time: '2026-11-23T10:00:00.000000002Z',
    endpoint: 42,
    direction: 'ingress',
    source: client,
    destination: web,
    protocol: 'TCP',
    tcpFlags: ['SYN'],
    reason: 'to-endpoint',
    ifindex: 5,
    length: 74,
  },
  {
    type: 'policy-verdict',
    time: '2026-11-23T10:00:00.000000003Z',
    endpoint: 42,
    direction: 'ingress',
    source: world,
    destination: { ...web, ip: 'fd00:10:244::7', port: 0 },
    protocol: 'ICMPv6',
    icmp: { type: 128, code: 0 },
    reason: 'none',
    verdict: 'deny',
    ifindex: 5,
    length: 98,
  },
  {
    type: 'drop',
    time: '2026-11-23T10:00:00.000000004Z',
    endpoint: 42,
    direction: 'ingress',
    source: world,
    destination: { ...web, ip: 'fd00:10:244::7', port: 0 },
    protocol: 'ICMPv6',
    icmp: { type: 128, code: 0 },
    reason: 'Policy denied',
    ifindex: 5,
    length: 98,
    lost: 2,
  },
  {
    type: 'drop',
    time: '2026-11-23T10:00:00.000000005Z',
    endpoint: 2107,
    direction: 'egress',
    source: { ...client, ip: 'fd00:10:244::c', port: 5000 },
    destination: { ...world, port: 53 },
    protocol: 'UDP',
    reason: 'Invalid source ip',
    ifindex: 6,
    length: 120,
  },
  {
    type: 'l7',
    time: '2026-11-23T10:00:00.000000005Z',
    endpoint: 42,
    direction: 'egress',
    source: web,
    destination: { ip: '10.244.1.53', port: 53, identity: 300 },
    protocol: 'UDP',
    reason: 'name',
    verdict: 'denied',
    dns: { kind: 'request', query: 'www.example.com.', qtype: 'A' },
    ifindex: 0,
    length: 0,
  },
  {
    type: 'l7',
    time: '2026-11-23T10:00:00.000000006Z',
    endpoint: 42,
    direction: 'egress',
    source: { ip: '10.244.1.53', port: 53, identity: 300 },
    destination: web,
    protocol: 'UDP',
    reason: '',
    verdict: 'forwarded',
    reply: true,
    dns: {
      kind: 'response',
      query: 'docs.cilium.io.',
      qtype: 'A',
      rcode: 'NOERROR',
      ttl: 30,
      ips: ['198.51.100.1', '198.51.100.2'],
      cnames: ['docs.cilium.example.'],
      milliseconds: 2,
    },
    ifindex: 0,
    length: 0,
  },
];

export const LOOKUPS: readonly DNSLookup[] = [
  {
    'endpoint-id': 42,
    source: 'lookup',
    fqdn: 'www.cilium.io.',
    ttl: 17,
    'expiration-time': '2026-01-02T03:04:22.000Z',
    ips: ['198.51.100.1', '2001:db8::1'],
  },
  {
    'endpoint-id': 2107,
    source: 'connection',
    fqdn: 'docs.cilium.io.',
    ttl: 0,
    'expiration-time': '2026-01-02T03:04:05.000Z',
    ips: ['198.51.100.2'],
  },
];

export const NAMES: NameManager = {
  FQDNPolicySelectors: [
    { selectorString: 'MatchName: , MatchPattern: *.cilium.io', regexString: '^[-a-zA-Z0-9_]*[.]cilium[.]io[.]$' },
  ],
  DNSPollNames: ['partner.example.com.'],
};
