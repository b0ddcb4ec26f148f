/** Every setting of the operator: a flag, and an environment variable of the same name in capitals after WEIR_OPERATOR_. */
export interface Option {
  readonly name: string;
  readonly kind: 'text' | 'list' | 'flag';
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly default?: string;
  readonly help: string;
}

export const OPTIONS = [
  {
    name: 'k8s-kubeconfig-path',
    kind: 'text',
    value: 'FILE',
    help: 'how to reach the API server, and as whom (default: the service account of the pod)',
  },
  {
    name: 'k8s-api-server-urls',
    kind: 'list',
    value: 'URL',
    help: 'API servers to try in turn, instead of the one of the credentials',
  },
  {
    name: 'namespace',
    kind: 'text',
    value: 'NAME',
    default: 'kube-system',
    help: 'where the lease and the ledger of pod CIDRs are kept',
  },
  {
    name: 'cluster-name',
    kind: 'text',
    value: 'NAME',
    default: 'default',
    help: 'name of the cluster, as the agents have it',
  },
  { name: 'skip-crd-creation', kind: 'flag', help: 'leave the custom resources to somebody else' },
  {
    name: 'leader-election-lease-duration',
    kind: 'text',
    value: 'TIME',
    default: '15s',
    help: 'how long others wait for a leader that has fallen silent',
  },
  {
    name: 'leader-election-renew-deadline',
    kind: 'text',
    value: 'TIME',
    default: '10s',
    help: 'how long a leader goes on without having renewed',
  },
  { name: 'leader-election-retry-period', kind: 'text', value: 'TIME', default: '2s', help: 'time between attempts' },
  {
    name: 'identity-allocation-mode',
    kind: 'text',
    value: 'MODE',
    help: 'as the agents have it: identities are crd (CiliumIdentity objects) or kvstore (etcd) (default: kvstore with --kvstore)',
  },
  { name: 'identity-allocation', kind: 'text', value: 'MODE', help: 'the same as --identity-allocation-mode' },
  { name: 'kvstore', kind: 'text', value: 'NAME', help: 'as the agents have it: etcd' },
  {
    name: 'kvstore-opt',
    kind: 'list',
    value: 'NAME=VALUE',
    help: 'how to reach it: etcd.address=URL, or etcd.config=FILE',
  },
  {
    name: 'kvstore-lease-ttl',
    kind: 'text',
    value: 'TIME',
    default: '15m',
    help: 'as the agents have it: no identity is deleted sooner',
  },
  {
    name: 'identity-gc-interval',
    kind: 'text',
    value: 'TIME',
    default: '15m',
    help: 'time between looks for unused identities; 0 is never',
  },
  {
    name: 'identity-heartbeat-timeout',
    kind: 'text',
    value: 'TIME',
    default: '30m',
    help: 'how long an identity must be unused before it is deleted',
  },
  {
    name: 'identity-gc-rate-limit',
    kind: 'text',
    value: 'NUMBER',
    default: '2500',
    help: 'most identities to delete in one look',
  },
  {
    name: 'cilium-endpoint-gc-interval',
    kind: 'text',
    value: 'TIME',
    default: '5m',
    help: 'time between looks for endpoints without a pod; 0 is never',
  },
  {
    name: 'nodes-gc-interval',
    kind: 'text',
    value: 'TIME',
    default: '5m',
    help: 'time between looks for CiliumNodes without a Node; 0 is never',
  },
  {
    name: 'ipam',
    kind: 'text',
    value: 'MODE',
    default: 'kubernetes',
    help: 'who gives nodes their pod CIDRs: cluster-pool (this operator) or kubernetes (its controller manager)',
  },
  { name: 'cluster-pool-ipv4-cidr', kind: 'list', value: 'CIDR', help: 'pools of IPv4 pod CIDRs' },
  {
    name: 'cluster-pool-ipv4-mask-size',
    kind: 'text',
    value: 'BITS',
    default: '24',
    help: 'prefix length of a node’s IPv4 pod CIDR',
  },
  { name: 'cluster-pool-ipv6-cidr', kind: 'list', value: 'CIDR', help: 'pools of IPv6 pod CIDRs' },
  {
    name: 'cluster-pool-ipv6-mask-size',
    kind: 'text',
    value: 'BITS',
    default: '120',
    help: 'prefix length of a node’s IPv6 pod CIDR',
  },
  {
    name: 'enable-cilium-endpoint-slice',
    kind: 'flag',
    help: 'batch endpoints into slices, which agents then watch instead',
  },
  {
    name: 'ces-max-ciliumendpoints-per-ces',
    kind: 'text',
    value: 'NUMBER',
    default: '100',
    help: 'most endpoints in a slice',
  },
  { name: 'ces-rate-limit', kind: 'text', value: 'NUMBER', default: '10', help: 'writes of slices a second' },
  {
    name: 'ces-rate-burst',
    kind: 'text',
    value: 'NUMBER',
    default: '20',
    help: 'writes of slices that may go at once',
  },
  {
    name: 'enable-node-selector-labels',
    kind: 'flag',
    help: 'as the agents have it: policies may select nodes by label',
  },
  {
    name: 'enable-extended-ip-protocols',
    kind: 'flag',
    help: 'as the agents have it: policies may name VRRP, IGMP and the like',
  },
  {
    name: 'listen',
    kind: 'text',
    value: 'HOST:PORT',
    default: ':9963',
    help: 'where /metrics, /healthz and /readyz are served',
  },
  {
    name: 'log-level',
    kind: 'text',
    value: 'LEVEL',
    default: 'info',
    help: 'trace, debug, info, warn, error or fatal',
  },
  { name: 'help', kind: 'flag', help: 'show this help' },
  { name: 'version', kind: 'flag', help: 'show the version' },
] as const satisfies readonly Option[];

export type OptionName = (typeof OPTIONS)[number]['name'];

/** `k8s-kubeconfig-path` → `WEIR_OPERATOR_K8S_KUBECONFIG_PATH`. */
export const environmentName = (name: string): string => `WEIR_OPERATOR_${name.replaceAll('-', '_').toUpperCase()}`;

export function helpText(): string {
  const rows = OPTIONS.map((option: Option) => {
    const flag = `--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
    return [flag, `${option.help}${option.default === undefined ? '' : ` (default: ${option.default})`}`] as const;
  });
  const width = Math.max(...rows.map(([flag]) => flag.length));
  const lines = rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`);
  return `usage: weir-operator [flags]

Does what Weir needs doing once for a cluster: custom resources, pod CIDRs, garbage collection, endpoint slices and the
status of policies. Several may run; one of them leads.

${lines.join('\n')}

Every flag is also an environment variable: --log-level is WEIR_OPERATOR_LOG_LEVEL.
`;
}
