/**
 * A cluster address against the pod behind it, by the same client, in interleaved rounds: where sockets are translated, and
 * packet by packet. What the translation costs is all that differs.
 */
import { run, start, stop } from '../harness/exec.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { backendOf, serviceManifest } from '../harness/service.ts';
import { waitFor } from '../harness/wait.ts';
import { median, ratios, type Bench } from './suite.ts';

const ROUNDS = 15;
const SECONDS = 1;
const VIP = '10.96.0.10';
const PORTS = { stream: 5201, tcp: 5301 } as const;

export const bench: Bench = {
  name: 'service',
  title: 'a cluster address against its pod, by socket and packet by packet',
  async run(print) {
    for (const socketLb of [true, false]) {
      await using stack = new AsyncDisposableStack();
      const { node, client, server } = await scene(stack, socketLb);
      const enter = [...client.ns.enter, ...(node.cgroup === undefined ? [] : inCgroup(node.cgroup))];
      for (const [what, unit, measure] of MEASURES) {
        const figures: [number[], number[]] = [[], []];
        for (let round = 0; round < ROUNDS; round++) {
          // The order alternates, so that a drift of the machine falls on both.
          for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
            figures[i]!.push(measure(enter, i === 0 ? server.ipv4 : VIP));
          }
        }
        const [direct, service] = figures;
        const how = socketLb ? 'by socket' : 'by packet';
        print(
          `${`${what}, ${how}`.padEnd(40)} direct ${median(direct).toFixed(2).padStart(9)} ${unit}  service ${median(service).toFixed(2).padStart(9)} ${unit}  service/direct ${ratios(service, direct)}`,
        );
      }
    }
  },
};

const MEASURES = [
  ['TCP stream', 'Gbit/s', tcpStream],
  ['TCP request/response p50', 'us', pingPong],
] as const;

/** Words that run a command in a cgroup. */
const inCgroup = (folder: string): string[] => ['sh', '-c', `echo $$ > ${folder}/cgroup.procs && exec "$@"`, 'sh'];

async function scene(stack: AsyncDisposableStack, socketLb: boolean) {
  const node = stack.use(new WeirNode({ name: 'bench', socketLb }));
  for (const name of ['client', 'server']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  for (const argv of [
    ['iperf3', '-s', '-p', String(PORTS.stream)],
    ['sockperf', 'server', '--tcp', '-p', String(PORTS.tcp)],
  ]) {
    const child = start([...server.ns.enter, 'taskset', '-c', '1', ...argv], { stdio: 'ignore' });
    stack.defer(() => stop(child, 'SIGKILL'));
  }
  for (const [name, port] of Object.entries(PORTS)) {
    const spec = { clusterIPs: [VIP] };
    node.manifest(
      `${name}.yaml`,
      serviceManifest({ name, port, targetPort: port, spec, backends: [backendOf(server)] }),
    );
  }
  await waitFor('the servers and services', async () => {
    const open = run([...server.ns.enter, 'ss', '-Hlnt']);
    const { stdout } = await node.weir('service', 'list');
    return Object.values(PORTS).every((port) => open.includes(`:${port}`) && stdout.includes(`${VIP}:${port}/TCP`));
  });
  return { node, server, client };
}

/** Gbit/s of one stream. */
function tcpStream(enter: readonly string[], address: string): number {
  const words = [
    'taskset',
    '-c',
    '0',
    'iperf3',
    '-c',
    address,
    '-p',
    String(PORTS.stream),
    '-t',
    String(SECONDS),
    '-J',
  ];
  const report = JSON.parse(run([...enter, ...words])) as {
    readonly error?: string;
    readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
  };
  if (report.end.sum_received === undefined) throw new Error(`iperf3 to ${address}: ${report.error ?? 'no result'}`);
  return report.end.sum_received.bits_per_second / 1e9;
}

/** Half a round trip, in microseconds. */
function pingPong(enter: readonly string[], address: string): number {
  const words = ['taskset', '-c', '0', 'sockperf', 'ping-pong', '-i', address, '--tcp', '-p', String(PORTS.tcp)];
  const text = run([...enter, ...words, '-t', String(SECONDS), '--msg-size', '64']);
  const match = /percentile 50\.000 =\s*([\d.]+)/.exec(text);
  if (match === null) throw new Error(`sockperf printed no percentile:\n${text}`);
  return Number(match[1]);
}
