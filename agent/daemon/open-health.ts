import type { HealthConfig } from '../config/health.ts';
import { NetworkProbes } from '../health/probes.ts';
import { respondIn, respondOnNode } from '../health/responder.ts';
import { Netns } from '../kernel/netns.ts';
import type { HealthParts } from './cluster-health.ts';
import type { HealthNamespace } from './health-endpoint.ts';

/** How long an echo, and a whole exchange of HTTP, may take, in milliseconds: well beyond the way around the world. */
const [ECHO_MS, HTTP_MS] = [1_500, 5_000];

/** Health checking on the real network. */
export function openHealth({ port, echoes }: HealthConfig): HealthParts & Disposable {
  const probes = new NetworkProbes({ port, echoes, echoTimeoutMs: ECHO_MS, httpTimeoutMs: HTTP_MS });
  return {
    probes,
    respondOnNode: () => respondOnNode(port),
    openNamespace: () => openNamespace(port),
    [Symbol.dispose]: () => probes[Symbol.dispose](),
  };
}

function openNamespace(port: number): HealthNamespace {
  const open = new DisposableStack();
  const netns = open.use(Netns.create());
  return {
    path: netns.path,
    respond: async (addresses) => {
      for (const address of addresses) open.use(await respondIn(netns, address, port));
    },
    [Symbol.dispose]: () => open.dispose(),
  };
}
