/** What a support engineer asks for: of the agent, of the machine, of the cluster. */
import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { ApiClient } from '../../agent/api/client.ts';
import { listAll } from '../../agent/k8s/apiserver/objects.ts';
import { isRefusal, type ApiServer } from '../../agent/k8s/apiserver/client.ts';
import { collectionPath, preferredApiVersion } from '../../agent/k8s/kinds.ts';
import type { ResourceKind } from '../../agent/model/resource.ts';
import type { Part } from './bundle.ts';
import { redact } from './redact.ts';

const MAX_OUTPUT = 64 << 20;
const run = promisify(execFile);

const json = (path: string, get: (signal: AbortSignal) => Promise<unknown>): Part => ({
  path: `${path}.json`,
  collect: async (signal) => `${JSON.stringify(redact(await get(signal)), undefined, 1)}\n`,
});

/** What the agent knows, and what the kernel holds of it. */
export async function agentParts(client: ApiClient): Promise<readonly Part[]> {
  const maps = await client.maps().catch(() => ({ maps: [] }));
  const names = (maps.maps ?? []).map(({ path = '' }) => path.split('/').at(-1)!).filter((name) => name !== '');
  return [
    json('agent/status', () => client.health()),
    json('agent/config', () => client.config()),
    json('agent/debuginfo', () => client.debugInfo()),
    json('agent/endpoints', () => client.endpoints()),
    json('agent/identities', () => client.identities()),
    json('agent/policy', () => client.policy()),
    json('agent/selectors', () => client.selectors()),
    json('agent/ipcache', () => client.ips()),
    json('agent/services', () => client.services()),
    json('agent/nodes', () => client.nodes()),
    json('agent/health', () => client.connectivity()),
    json('agent/fqdn-cache', () => client.names()),
    json('agent/fqdn-selectors', () => client.nameSelectors()),
    { path: 'agent/metrics.txt', collect: (signal) => metricsOf(client, signal) },
    { path: 'agent/events.ndjson', collect: () => recentEvents(client) },
    ...names.map((name) => json(`maps/${name}`, () => client.map(name))),
  ];
}

async function metricsOf(client: ApiClient, signal: AbortSignal): Promise<string> {
  const { status } = await client.config();
  const listen = status?.daemonConfigurationMap?.['metricsListen'];
  if (typeof listen !== 'string') throw new Error('the agent serves no metrics (--metrics-listen)');
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(listen) ?? [];
  const own = host === '::' || host === '0.0.0.0' ? '127.0.0.1' : host;
  return await (await fetch(`http://${own.includes(':') ? `[${own}]` : own}:${port}/metrics`, { signal })).text();
}

/** How long events are listened to, in milliseconds. */
const EVENTS_MS = 2_000;

async function recentEvents(client: ApiClient): Promise<string> {
  const signal = AbortSignal.timeout(EVENTS_MS);
  const lines: string[] = [];
  try {
    for await (const event of client.monitor(signal)) lines.push(`${JSON.stringify(redact(event))}\n`);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return lines.join('');
}

const COMMANDS: readonly (readonly [path: string, ...argv: [string, ...string[]]])[] = [
  ['links', 'ip', '-d', '-s', 'link'],
  ['addresses', 'ip', 'address'],
  ['routes-ipv4', 'ip', '-4', 'route', 'show', 'table', 'all'],
  ['routes-ipv6', 'ip', '-6', 'route', 'show', 'table', 'all'],
  ['rules-ipv4', 'ip', '-4', 'rule'],
  ['rules-ipv6', 'ip', '-6', 'rule'],
  ['neighbours', 'ip', 'neighbour'],
  ['sockets', 'ss', '-tunlp'],
  ['tc', 'tc', '-s', 'qdisc'],
  ['bpf-net', 'bpftool', 'net'],
  ['bpf-programs', 'bpftool', 'prog'],
  ['bpf-links', 'bpftool', 'link'],
  [
    'sysctls',
    'sysctl',
    '-a',
    '--pattern',
    String.raw`^(net\.(core|ipv4|ipv6|netfilter)\.|kernel\.(unprivileged_bpf|osrelease))`,
  ],
  ['kernel-log', 'dmesg', '--ctime'],
  ['agent-log', 'journalctl', '--unit', 'weir-agent', '--lines', '5000', '--no-pager'],
];

/** The machine that the CLI runs on: facts of its kernel and its network. */
export function machineParts(): readonly Part[] {
  return [
    { path: 'machine/uname.txt', collect: (signal) => output(signal, 'uname', '-a') },
    {
      path: 'machine/btf.txt',
      collect: async () => `vmlinux: ${(await stat('/sys/kernel/btf/vmlinux')).size} bytes\n`,
    },
    ...['/etc/os-release', '/proc/meminfo', '/proc/loadavg', '/proc/cpuinfo'].map((file) => ({
      path: `machine/${file.split('/').at(-1)!}.txt`,
      collect: (signal: AbortSignal) => readFile(file, { encoding: 'utf8', signal }),
    })),
    ...COMMANDS.map(([path, command, ...words]) => ({
      path: `machine/${path}.txt`,
      collect: (signal: AbortSignal) => output(signal, command, ...words),
    })),
  ];
}

async function output(signal: AbortSignal, command: string, ...words: string[]): Promise<string> {
  return (await run(command, words, { signal, maxBuffer: MAX_OUTPUT })).stdout;
}

/** Never Secrets and ConfigMaps; nor Pods, whose environment holds what it likes. */
const CLUSTER_KINDS: readonly ResourceKind[] = [
  'Node',
  'Namespace',
  'Service',
  'EndpointSlice',
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'CiliumCIDRGroup',
  'CiliumNode',
  'CiliumIdentity',
  'CiliumEndpoint',
  'CiliumEndpointSlice',
];

/** What the API server stores of Weir's concern. */
export function clusterParts(server: ApiServer): readonly Part[] {
  return CLUSTER_KINDS.map((kind) =>
    json(`cluster/${kind}`, async () => {
      try {
        return await Array.fromAsync(listAll(server, collectionPath(kind, preferredApiVersion(kind))));
      } catch (error) {
        // Few clusters have all of the kinds.
        if (isRefusal(error, 404)) return 'not served here';
        throw error;
      }
    }),
  );
}
