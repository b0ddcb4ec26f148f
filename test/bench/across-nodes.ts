/**
 * Pod to pod across two nodes, routed and tunnelled, against namespaces behind two routers that route plainly, with rules,
 * or through a VXLAN device of the kernel. Weir's pods have no policy, or 16,000 entries of it.
 */
import { Cluster, type Member } from '../harness/cluster.ts';
import { interleave, type Table } from './interleave.ts';
import { CONNECTIONS, EXCHANGE, SMALL_PACKETS, STREAM } from './measures.ts';
import { serve, type Path } from './path.ts';
import { nodesPath } from './plain.ts';
import type { Bench } from './suite.ts';
import { addPods, enforceMany, MANY, POD_MANIFESTS } from './weir.ts';

const ROUNDS = 5;

export const bench: Bench = {
  name: 'across-nodes',
  title: 'two nodes, against plain routing, routing with 200 rules, and plain VXLAN',
  async run(print, { quick, only }) {
    await using stack = new AsyncDisposableStack();
    const routed = nodesPath(stack, { name: 'routing' });
    const ruled = nodesPath(stack, { name: 'rules', rules: true });
    const vxlan = nodesPath(stack, { name: 'vxlan', vxlan: true });
    const native = await pods(stack, 'native', ['--auto-direct-node-routes'], print);
    const tunnel = await pods(stack, 'tunnel', [], print);
    const measures = [STREAM, SMALL_PACKETS, EXCHANGE, CONNECTIONS];
    const tables: readonly Table[] = [
      {
        measures,
        paths: [routed, ruled, native.none, native.many],
        ratios: [
          [native.none, routed],
          [native.none, ruled],
          [native.many, native.none],
        ],
      },
      {
        measures,
        paths: [vxlan, tunnel.none, tunnel.many],
        ratios: [
          [tunnel.none, vxlan],
          [tunnel.many, tunnel.none],
        ],
      },
    ];
    for (const { server } of tables.flatMap(({ paths }) => paths)) await serve(stack, server);
    interleave(tables, { rounds: quick ? 1 : ROUNDS, only }, print);
  },
};

async function pods(
  stack: AsyncDisposableStack,
  mode: 'native' | 'tunnel',
  flags: readonly string[],
  print: (line: string) => void,
): Promise<{ none: Path; many: Path }> {
  const cluster = stack.use(await Cluster.start({ nodes: 2, flags: ['--routing-mode', mode, ...flags] }));
  const [one, two] = cluster.members as [Member, Member];
  for (const [file, text] of POD_MANIFESTS) cluster.manifest(file, text);
  const none = await addPods(stack, [one.node, two.node], 'none', mode);
  const many = await addPods(stack, [one.node, two.node], 'many', `${mode} 16,000`);
  await cluster.publish();
  const nodes = cluster.members.map(({ node }) => node);
  const milliseconds = await enforceMany(nodes, (file, text) => cluster.manifest(file, text));
  print(
    `${mode}: ${MANY} policy entries for each of 2 pods, from the file to the kernel: ${milliseconds.toFixed(0)} ms`,
  );
  return { none, many };
}
