/**
 * Pod to pod on one node, against namespaces joined by plain veth pairs and routing, and by a bridge with rules. Weir's pods
 * have no policy, or 16,000 entries of it.
 */
import path from 'node:path';
import { start, stop } from '../harness/exec.ts';
import { dist, WeirNode } from '../harness/node.ts';
import { interleave } from './interleave.ts';
import { CONNECTIONS, EXCHANGE, SMALL_PACKETS, STREAM } from './measures.ts';
import { serve, type Path } from './path.ts';
import { bridgedPath, routedPath } from './plain.ts';
import type { Bench } from './suite.ts';
import { addPods, enforceMany, MANY, POD_MANIFESTS } from './weir.ts';

const ROUNDS = 9;

export const bench: Bench = {
  name: 'pod-to-pod',
  title: 'one node, against plain veth + routing and a bridge with 200 rules',
  async run(print, { quick, only }) {
    await using stack = new AsyncDisposableStack();
    const plain = routedPath(stack, 'plain');
    const bridge = bridgedPath(stack, 'bridge');
    const { none, many } = await pods(stack, 'weir', [], print);
    const quiet = await pods(stack, 'no events', QUIET, print);
    const watched = await pods(stack, 'watched', [], print);
    listen(stack, watched.node);
    const paths = [plain, bridge, none, many];
    for (const { server } of [...paths, quiet.none, quiet.many, watched.none]) await serve(stack, server);
    interleave(
      [
        {
          measures: [STREAM, SMALL_PACKETS, EXCHANGE],
          paths,
          ratios: [
            [none, plain],
            [none, bridge],
            [many, none],
          ],
        },
        {
          measures: [CONNECTIONS],
          paths: [plain, bridge, quiet.none, quiet.many, none, many, watched.none],
          ratios: [
            [quiet.none, plain],
            [none, plain],
            [watched.none, plain],
            [none, bridge],
            [quiet.many, quiet.none],
            [many, none],
          ],
        },
      ],
      { rounds: quick ? 1 : ROUNDS, only },
      print,
    );
  },
};

/** Flags of an agent whose programs report nothing. */
const QUIET = ['drop', 'policy-verdict', 'trace'].map((type) => `--bpf-events-${type}-enabled=false`);

/** Somebody who reads every event, so that the agent decodes them and programs trace. */
function listen(stack: AsyncDisposableStack, { socket }: WeirNode): void {
  const argv = [path.join(dist, 'weir'), '--socket', socket, 'monitor', '--output', 'json'];
  const monitor = start(argv, { stdio: 'ignore' });
  stack.defer(() => stop(monitor, 'SIGKILL'));
}

async function pods(
  stack: AsyncDisposableStack,
  name: string,
  flags: readonly string[],
  print: (line: string) => void,
): Promise<{ node: WeirNode; none: Path; many: Path }> {
  const node = stack.use(new WeirNode({ name: name.replaceAll(' ', '-'), flags }));
  for (const [file, text] of POD_MANIFESTS) node.manifest(file, text);
  await node.startAgent();
  const none = await addPods(stack, [node, node], 'none', name);
  const many = await addPods(stack, [node, node], 'many', `${name} 16,000`);
  const milliseconds = await enforceMany([node], (file, text) => node.manifest(file, text));
  print(
    `${name}: ${MANY} policy entries for each of 2 pods, from the file to the kernel: ${milliseconds.toFixed(0)} ms`,
  );
  return { node, none, many };
}
