/** Every setting of the agent: one line of help, one flag, one environment variable, one key of the file. */
export interface Option {
  /** Without the dashes; the environment has it as `WEIR_…`, the file as a key. */
  readonly name: string;
  readonly kind: 'text' | 'list' | 'flag';
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly default?: string;
  readonly help: string;
  /** Only on the command line: what makes no sense in a file. */
  readonly commandLineOnly?: true;
}

export const OPTIONS = [
  {
    name: 'config',
    kind: 'text',
    value: 'FILE',
    help: 'read settings from a YAML file of flag names',
    commandLineOnly: true,
  },
  { name: 'socket', kind: 'text', value: 'PATH', default: '/run/weir/weir.sock', help: 'where the API listens' },
  { name: 'socket-group', kind: 'text', value: 'GROUP', help: 'group that may use the API (default: root)' },
  {
    name: 'delete-queue',
    kind: 'text',
    value: 'DIR',
    help: 'where weir-cni leaves deletes while the agent is away (default: deleteQueue beside the socket)',
  },
  {
    name: 'state-dir',
    kind: 'text',
    value: 'DIR',
    default: '/run/weir/state',
    help: 'where endpoints and identities are kept',
  },
  {
    name: 'bpf-root',
    kind: 'text',
    value: 'DIR',
    default: '/sys/fs/bpf/weir',
    help: 'where BPF maps and links are pinned',
  },
  { name: 'bpf-objects', kind: 'text', value: 'DIR', help: 'compiled BPF programs (default: beside the program)' },
  { name: 'manifests', kind: 'text', value: 'DIR', help: 'take Kubernetes objects from a watched directory of YAML' },
  {
    name: 'enable-k8s',
    kind: 'text',
    value: 'MODE',
    default: 'auto',
    help: 'follow a Kubernetes API server: true, false, or auto: when one is named, or in a pod, and without --manifests',
  },
  {
    name: 'k8s-kubeconfig-path',
    kind: 'text',
    value: 'FILE',
    help: 'how to reach the API server, and as whom (default: the service account of the pod)',
  },
  {
    name: 'k8s-api-server-urls',
    kind: 'list',
    value: 'URLS',
    help: 'API servers to try in turn, instead of the one that the credentials name',
  },
  { name: 'k8s-client-qps', kind: 'text', value: 'NUMBER', default: '10', help: 'writes to the API server a second' },
  { name: 'k8s-client-burst', kind: 'text', value: 'NUMBER', default: '20', help: 'writes that may go at once' },
  {
    name: 'k8s-heartbeat-timeout',
    kind: 'text',
    value: 'DURATION',
    default: '30s',
    help: 'how long the API server may be silent before it counts as gone',
  },
  {
    name: 'enable-cilium-endpoint-slice',
    kind: 'flag',
    help: 'learn the endpoints of other nodes from the slices that the operator makes',
  },
  {
    name: 'identity-allocation-mode',
    kind: 'text',
    value: 'MODE',
    help: 'where identities are agreed on: crd (CiliumIdentity objects), kvstore (etcd), or file (this node alone) (default: kvstore with --kvstore, else crd with Kubernetes)',
  },
  {
    name: 'identity-allocation',
    kind: 'text',
    value: 'MODE',
    help: 'the same as --identity-allocation-mode',
  },
  {
    name: 'kvstore',
    kind: 'text',
    value: 'NAME',
    help: 'share identities, addresses and nodes with the other agents in a key-value store: etcd',
  },
  {
    name: 'kvstore-opt',
    kind: 'list',
    value: 'NAME=VALUE',
    help: "how to reach it: etcd.address=URL, or etcd.config=FILE, a file as etcd's own client takes it",
  },
  {
    name: 'kvstore-lease-ttl',
    kind: 'text',
    value: 'DURATION',
    default: '15m',
    help: 'how long the other agents know this one after it has fallen silent',
  },
  {
    name: 'identity-change-grace-period',
    kind: 'text',
    value: 'DURATION',
    default: '400ms',
    help: 'how long other nodes have to learn of a new identity before an endpoint goes over to it',
  },
  {
    name: 'pod-metadata-timeout',
    kind: 'text',
    value: 'DURATION',
    default: '10s',
    help: 'how long a new endpoint waits for the labels of its pod before it starts as reserved:init',
  },
  {
    name: 'cloud-groups',
    kind: 'text',
    value: 'FILE',
    help: 'take the prefixes of cloud groups (toGroups) from a watched file of YAML',
  },
  {
    name: 'node-name',
    kind: 'text',
    value: 'NAME',
    help: 'name of this node (default: K8S_NODE_NAME, or the host name)',
  },
  { name: 'cluster-name', kind: 'text', value: 'NAME', default: 'default', help: 'name of the cluster' },
  { name: 'pod-cidr', kind: 'list', value: 'CIDR', help: 'addresses for pods, one IPv4 and one IPv6 prefix at most' },
  {
    name: 'ipam',
    kind: 'text',
    value: 'MODE',
    help: 'who says the addresses for pods: flags (--pod-cidr), kubernetes (the Node object), or cluster-pool (the operator) (default: flags when they do, else cluster-pool)',
  },
  {
    name: 'devices',
    kind: 'list',
    value: 'NAMES',
    help: 'interfaces to the network (default: those with a default route)',
  },
  {
    name: 'mtu',
    kind: 'text',
    value: 'BYTES',
    help: 'MTU of the network, pods get it less what a tunnel takes (default: the smallest of the devices)',
  },
  {
    name: 'routing-mode',
    kind: 'text',
    value: 'MODE',
    default: 'native',
    help: 'tunnel: packets between nodes travel inside others; native: the network knows the way to pods',
  },
  { name: 'tunnel-protocol', kind: 'text', value: 'NAME', default: 'vxlan', help: 'vxlan' },
  { name: 'tunnel-port', kind: 'text', value: 'PORT', default: '8472', help: 'UDP port of the tunnel' },
  {
    name: 'underlay-protocol',
    kind: 'text',
    value: 'FAMILY',
    default: 'ipv4',
    help: 'addresses of nodes between which packets are tunnelled: ipv4 or ipv6',
  },
  {
    name: 'auto-direct-node-routes',
    kind: 'flag',
    help: 'native: make routes to the pods of nodes that share a network with this one',
  },
  {
    name: 'enable-host-legacy-routing',
    kind: 'flag',
    help: "native: let the host's stack forward what pods send to other nodes, past its netfilter rules",
  },
  {
    name: 'enable-ipv4-masquerade',
    kind: 'flag',
    help: "pods' IPv4 packets leave the cluster under the address of the node, by --devices",
  },
  { name: 'enable-ipv6-masquerade', kind: 'flag', help: 'likewise for IPv6' },
  {
    name: 'ipv4-native-routing-cidr',
    kind: 'text',
    value: 'CIDR',
    help: "where the network routes pods' IPv4 addresses: never masqueraded; must be given when it is native routing",
  },
  { name: 'ipv6-native-routing-cidr', kind: 'text', value: 'CIDR', help: 'likewise for IPv6' },
  {
    name: 'non-masquerade-cidrs',
    kind: 'list',
    value: 'CIDRS',
    help: 'more prefixes to which pods send under their own addresses; link-local ones are among them',
  },
  {
    name: 'bpf-nat-global-max',
    kind: 'text',
    value: 'NUMBER',
    default: '131072',
    help: 'entries for connections that go on under the address of the node, two each',
  },
  {
    name: 'bpf-lb-sock',
    kind: 'text',
    value: 'MODE',
    default: 'auto',
    help: 'translate services where sockets connect: auto, true or false; else packet by packet',
  },
  {
    name: 'cgroup-root',
    kind: 'text',
    value: 'DIR',
    help: 'cgroup v2 whose sockets are translated (default: where it is mounted, for the agent of a whole machine)',
  },
  {
    name: 'bpf-lb-algorithm',
    kind: 'text',
    value: 'NAME',
    default: 'random',
    help: 'how clients from outside are spread over backends: random, or maglev, which is alike on all nodes',
  },
  {
    name: 'bpf-lb-maglev-table-size',
    kind: 'text',
    value: 'NUMBER',
    default: '16381',
    help: 'places in the Maglev table of a frontend, a prime: at least a hundred times the backends of any service',
  },
  {
    name: 'bpf-lb-external-clusterip',
    kind: 'flag',
    help: 'let clients from outside of the node use cluster addresses',
  },
  {
    name: 'service-no-backend-response',
    kind: 'text',
    value: 'MODE',
    default: 'reject',
    help: 'what becomes of packets to a service without backends: reject (an ICMP error) or drop',
  },
  {
    name: 'warm-programs',
    kind: 'text',
    value: 'NUMBER',
    default: '24',
    help: 'pods whose programs are loaded ahead, about 0.6 MB each: how many may start at once without waiting',
  },
  {
    name: 'bpf-policy-map-max',
    kind: 'text',
    value: 'NUMBER',
    default: '16384',
    help: 'entries that the policy of one endpoint may have: one that takes more has all its traffic dropped',
  },
  { name: 'labels', kind: 'list', value: 'RULES', help: 'which labels make identities: [!][source]:pattern' },
  {
    name: 'policy-enforcement',
    kind: 'text',
    value: 'MODE',
    default: 'default',
    help: 'default: what a policy selects; always: every endpoint; never: none',
  },
  {
    name: 'allow-localhost',
    kind: 'text',
    value: 'MODE',
    default: 'auto',
    help: 'auto or always: the node may reach its pods; policy: only as policies allow',
  },
  {
    name: 'enable-host-firewall',
    kind: 'flag',
    help: 'enforce policies of nodes (nodeSelector) on this node, by what comes and goes through --devices',
  },
  {
    name: 'policy-deny-response',
    kind: 'text',
    value: 'MODE',
    default: 'none',
    help: 'what a pod hears when policy denies what it sends: none, or icmp (administratively prohibited)',
  },
  {
    name: 'monitor-aggregation',
    kind: 'text',
    value: 'LEVEL',
    default: 'medium',
    help: 'which packets are traced: none leaves nothing out, low all where they go, medium and maximum each way of a connection at its start, at flags not seen before, and once an interval',
  },
  {
    name: 'monitor-aggregation-interval',
    kind: 'text',
    value: 'DURATION',
    default: '5s',
    help: 'after which a connection is traced again',
  },
  {
    name: 'monitor-aggregation-flags',
    kind: 'text',
    value: 'FLAGS',
    default: 'syn,fin,rst',
    help: 'TCP flags that are traced when they are new to a connection: of syn, fin, rst, psh, ack, urg, ece, cwr',
  },
  { name: 'bpf-events-drop-enabled', kind: 'text', value: 'BOOL', default: 'true', help: 'report dropped packets' },
  {
    name: 'bpf-events-policy-verdict-enabled',
    kind: 'text',
    value: 'BOOL',
    default: 'true',
    help: 'report what policy says of new connections',
  },
  {
    name: 'bpf-events-trace-enabled',
    kind: 'text',
    value: 'BOOL',
    default: 'true',
    help: 'report forwarded packets, as --monitor-aggregation says',
  },
  {
    name: 'bpf-events-default-rate-limit',
    kind: 'text',
    value: 'NUMBER',
    default: '0',
    help: 'events of each type that a CPU may report a second, what is left out is counted (0: all)',
  },
  {
    name: 'bpf-events-default-burst-limit',
    kind: 'text',
    value: 'NUMBER',
    default: '0',
    help: 'events of each type that a CPU may report at once (0: as many as in a second)',
  },
  {
    name: 'enable-health-checking',
    kind: 'text',
    value: 'MODE',
    default: 'auto',
    help: 'probe the other nodes, and answer their probes: true, false, or auto: when an API server says which there are',
  },
  {
    name: 'enable-endpoint-health-checking',
    kind: 'text',
    value: 'MODE',
    default: 'true',
    help: 'with health checking: make an endpoint that stands for the pods of this node, and probe those of others',
  },
  {
    name: 'cluster-health-port',
    kind: 'text',
    value: 'PORT',
    default: '4240',
    help: 'TCP port at which nodes and their health endpoints answer probes',
  },
  {
    name: 'health-check-interval',
    kind: 'text',
    value: 'DURATION',
    default: '60s',
    help: 'how often each node is probed, times ln(nodes + 1)',
  },
  {
    name: 'health-check-icmp-failure-threshold',
    kind: 'text',
    value: 'NUMBER',
    default: '3',
    help: 'an address is silent when so many ICMP echoes in a row stay without an answer',
  },
  { name: 'policy-audit-mode', kind: 'flag', help: 'deliver and report what policy would drop' },
  {
    name: 'enable-bandwidth-manager',
    kind: 'flag',
    help: "limit pods' bandwidth as their annotations kubernetes.io/{ingress,egress}-bandwidth say",
  },
  {
    name: 'conntrack-gc-interval',
    kind: 'text',
    value: 'DURATION',
    default: '0s',
    help: 'how often connections that have ended are collected, and addresses of names with them (0: every 30s)',
  },
  {
    name: 'tofqdns-min-ttl',
    kind: 'text',
    value: 'SECONDS',
    default: '0',
    help: 'addresses of names are kept so long at least, whatever the TTL of the answer',
  },
  {
    name: 'tofqdns-endpoint-max-ip-per-hostname',
    kind: 'text',
    value: 'NUMBER',
    default: '1000',
    help: 'addresses that a pod keeps of one name',
  },
  {
    name: 'tofqdns-max-deferred-connection-deletes',
    kind: 'text',
    value: 'NUMBER',
    default: '10000',
    help: 'addresses past their TTL that a pod keeps for the sake of connections that live',
  },
  {
    name: 'tofqdns-idle-connection-grace-period',
    kind: 'text',
    value: 'DURATION',
    default: '0s',
    help: 'a connection that was seen counts as alive so much longer, for addresses past their TTL',
  },
  {
    name: 'fromfqdns-resolvers',
    kind: 'list',
    value: 'ADDRESSES',
    help: 'DNS servers that the node asks for names of fromFQDNs, with a port if not 53 (default: /etc/resolv.conf)',
  },
  {
    name: 'dns-proxy-socket',
    kind: 'text',
    value: 'PATH',
    help: 'use the DNS proxy weir-dns-proxy, which listens here (default: one inside the agent)',
  },
  {
    name: 'tofqdns-proxy-port',
    kind: 'text',
    value: 'PORT',
    default: '0',
    help: "port of the agent's own DNS proxy, on loopback (default: that of the last run, or any)",
  },
  {
    name: 'tofqdns-dns-reject-response-code',
    kind: 'text',
    value: 'CODE',
    default: 'refused',
    help: 'refused or nameError (NXDOMAIN): what pods hear of names that they may not ask for',
  },
  {
    name: 'tofqdns-proxy-response-max-delay',
    kind: 'text',
    value: 'DURATION',
    default: '100ms',
    help: 'an answer waits so long at most for its addresses to be open',
  },
  {
    name: 'dnsproxy-concurrency-limit',
    kind: 'text',
    value: 'NUMBER',
    default: '4096',
    help: 'DNS queries of one pod that may be on their way at once',
  },
  {
    name: 'dnsproxy-connection-limit',
    kind: 'text',
    value: 'NUMBER',
    default: '256',
    help: 'TCP connections of one pod to DNS servers',
  },
  {
    name: 'dnsproxy-idle-timeout',
    kind: 'text',
    value: 'DURATION',
    default: '10s',
    help: 'a TCP connection to a DNS server is closed after so long without queries',
  },
  {
    name: 'dnsproxy-upstream-timeout',
    kind: 'text',
    value: 'DURATION',
    default: '10s',
    help: 'how long a DNS server may take to answer',
  },
  {
    name: 'metrics-listen',
    kind: 'text',
    value: 'HOST:PORT',
    default: '',
    help: 'serve Prometheus metrics (default: off)',
  },
  {
    name: 'log-level',
    kind: 'text',
    value: 'LEVEL',
    default: 'info',
    help: 'trace, debug, info, warn, error or fatal',
  },
  {
    name: 'uninstall',
    kind: 'flag',
    help: 'take away every link, pin, route and file of this agent, and end',
    commandLineOnly: true,
  },
  { name: 'help', kind: 'flag', help: 'print this', commandLineOnly: true },
  { name: 'version', kind: 'flag', help: 'print the version', commandLineOnly: true },
] as const satisfies readonly Option[];

export type OptionName = (typeof OPTIONS)[number]['name'];

/** Name of the environment variable of an option. */
export function environmentName(option: string): string {
  return `WEIR_${option.toUpperCase().replaceAll('-', '_')}`;
}

/** The text of `--help`. */
export function helpText(): string {
  const rows = OPTIONS.map((option: Option) => {
    const left = `  --${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
    const fallback = option.default === undefined || option.default === '' ? '' : ` (default: ${option.default})`;
    return { left, right: `${option.help}${fallback}` };
  });
  const width = Math.max(...rows.map(({ left }) => left.length)) + 2;
  return [
    'weir-agent: gives pods interfaces, addresses and identities, and enforces network policies with eBPF',
    '',
    'Usage: weir-agent [flags]',
    '',
    ...rows.map(({ left, right }) => `${left.padEnd(width)}${right}`),
    '',
    'Each flag may also come from the environment (WEIR_POD_CIDR, lists separated by commas) or from the file named by',
    '--config. The command line goes before the environment, the environment before the file.',
    '',
  ].join('\n');
}
