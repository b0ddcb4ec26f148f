/**
 * A cluster address against the pod behind it, by the same client: where sockets are translated, and packet by packet. What
 * the translation costs is all that differs.
 */
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { backendOf, serviceManifest } from '../harness/service.ts';
import { waitFor } from '../harness/wait.ts';
import { interleave } from './interleave.ts';
import { CONNECTIONS, EXCHANGE, STREAM } from './measures.ts';
import { PORTS, serve, type Path } from './path.ts';
import type { Bench } from './suite.ts';

/** Enough to tell 1 % from nothing, where that is asked; a round says little by itself. */
const ROUNDS = { socket: 20, packet: 7 } as const;
const VIP = '10.96.0.10';

export const bench: Bench = {
  name: 'service',
  title: 'a cluster address against its pod, by socket and packet by packet',
  async run(print, { quick, only }) {
    for (const by of ['socket', 'packet'] as const) {
      await using stack = new AsyncDisposableStack();
      const { direct, service } = await paths(stack, by);
      const table = {
        measures: [STREAM, EXCHANGE, CONNECTIONS],
        paths: [direct, service],
        ratios: [[service, direct]] as const,
        ratioDigits: 3,
      };
      interleave([table], { rounds: quick ? 1 : ROUNDS[by], only }, print);
    }
  },
};

/** Words that run a command in a cgroup. */
const inCgroup = (folder: string): string[] => ['sh', '-c', `echo $$ > ${folder}/cgroup.procs && exec "$@"`, 'sh'];

async function paths(stack: AsyncDisposableStack, by: keyof typeof ROUNDS): Promise<{ direct: Path; service: Path }> {
  const node = stack.use(new WeirNode({ name: 'bench', socketLb: by === 'socket' }));
  for (const name of ['client', 'server']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  await serve(stack, server.ns);
  for (const [name, port] of Object.entries(PORTS)) {
    const spec = { clusterIPs: [VIP] };
    const service = { name: name.toLowerCase(), port, targetPort: port, spec, backends: [backendOf(server)] };
    node.manifest(`${name}.yaml`, serviceManifest(service));
  }
  await waitFor(
    'the services',
    async () => {
      const { stdout } = await node.weir('service', 'list');
      return Object.values(PORTS).every((port) => stdout.includes(`${VIP}:${port}/TCP`));
    },
    30_000,
  );
  const enter = [...client.ns.enter, ...(node.cgroup === undefined ? [] : inCgroup(node.cgroup))];
  const ends = { client: { enter }, server: server.ns };
  return {
    direct: { ...ends, name: 'direct', address: server.ipv4 },
    service: { ...ends, name: `by ${by}`, address: VIP },
  };
}
