/**
 * Who may import whom: the one table, checked by `check-layers.ts` and rendered into the README. Anything absent is an
 * error. A room may always import itself; a longer path wins over a shorter one.
 */
export interface Layer {
  /** Path from the root of the repository: a folder, or a file. */
  readonly room: string;
  /** What it may import, besides itself and packages; a leading `type:` allows type imports only. */
  readonly may: readonly string[];
}

export const ANYTHING = '*';

export const LAYERS: readonly Layer[] = [
  { room: 'agent/model', may: [] },
  { room: 'bpf/gen', may: [] },
  { room: 'cni/spec', may: [] },
  { room: 'dns-proxy/message', may: [] },
  { room: 'dns-proxy/rules', may: [] },
  { room: 'agent/policy', may: ['agent/model', 'dns-proxy/rules'] },
  { room: 'agent/reconcile', may: ['agent/model', 'dns-proxy/rules'] },
  { room: 'agent/state', may: ['agent/model'] },
  { room: 'agent/config', may: ['agent/model'] },
  { room: 'agent/identity', may: ['agent/model', 'agent/policy', 'agent/state'] },
  { room: 'agent/ipcache', may: ['agent/model', 'agent/policy'] },
  { room: 'agent/fqdn', may: ['agent/model', 'agent/policy', 'dns-proxy/rules'] },
  { room: 'agent/nodes', may: ['agent/model', 'agent/policy', 'agent/ipcache'] },
  { room: 'agent/loadbalancer', may: ['agent/model', 'agent/policy'] },
  { room: 'agent/ipam', may: ['agent/model', 'agent/policy'] },
  { room: 'agent/k8s', may: ['agent/model', 'agent/policy/api', 'agent/policy/contract.ts'] },
  { room: 'agent/kvstore', may: ['agent/model', 'agent/reconcile', 'agent/state'] },
  { room: 'agent/kernel', may: ['agent/model'] },
  { room: 'agent/datapath', may: ['agent/model', 'agent/reconcile', 'agent/kernel', 'bpf/gen'] },
  { room: 'agent/health', may: ['agent/model', 'agent/kernel'] },
  { room: 'agent/flow', may: ['agent/model', 'agent/reconcile', 'agent/kernel', 'bpf/gen'] },
  {
    room: 'agent/endpoint',
    may: [
      'agent/model',
      'agent/policy',
      'agent/reconcile',
      'agent/state',
      'agent/identity',
      'agent/ipcache',
      'agent/ipam',
    ],
  },
  { room: 'agent/proxy', may: ['agent/model', 'agent/policy', 'agent/kernel'] },
  { room: 'agent/api', may: ['agent/model'] },
  // The composition root: main.ts, and the parts of it that are too long for one file.
  { room: 'agent/daemon', may: ['agent', 'dns-proxy', 'bpf/gen'] },
  { room: 'agent/main.ts', may: ['agent', 'dns-proxy', 'bpf/gen'] },
  { room: 'cni/commands', may: ['cni/spec', 'agent/api', 'agent/model', 'agent/kernel'] },
  { room: 'cni', may: ['agent/api', 'agent/model'] },
  { room: 'cni/node-runtime.ts', may: ['cni/commands', 'agent/api'] },
  { room: 'cni/main.ts', may: ['cni/spec', 'cni/commands', 'cni/node-runtime.ts'] },
  { room: 'dns-proxy/contract.ts', may: ['dns-proxy/rules'] },
  { room: 'dns-proxy', may: ['agent/model', 'agent/kernel', 'agent/datapath/maps', 'bpf/gen'] },
  { room: 'cli', may: ['agent/api', 'agent/model', 'agent/policy', 'agent/k8s', 'agent/identity', 'dns-proxy/rules'] },
  { room: 'operator', may: ['agent/api', 'agent/model', 'agent/policy', 'agent/k8s', 'agent/kvstore'] },
  { room: 'hack', may: [ANYTHING] },
  { room: 'test', may: [ANYTHING] },
];
