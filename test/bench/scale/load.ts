/** What the scale bench does inside the process of its API server (`test/harness/api-server-process.ts`). */
import { PATCH, type ApiClient } from '../../../agent/k8s/apiserver/client.ts';
import type { KubeApiServer } from '../../fakes/kube-apiserver/server.ts';
import { SimulatedCluster, type ClusterSize } from './objects.ts';

interface Place {
  readonly server: KubeApiServer;
  readonly client: ApiClient;
}

type Json = Readonly<Record<string, unknown>>;

let cluster: SimulatedCluster | undefined;
let changing: NodeJS.Timeout | undefined;
let changes = 0;

/** Fills the server; `node` is the real one. Answers how many objects there are now. */
export function fill({ server }: Place, { size, node }: { size: ClusterSize; node: string }): number {
  cluster = new SimulatedCluster(size);
  let count = 0;
  server.load(
    (function* () {
      for (const object of cluster.objects(node)) {
        count++;
        yield object;
      }
    })(),
  );
  return count;
}

/** From now on so many pods a second come, go, or change address and identity. */
export function beginChurn({ server }: Place, { perSecond }: { perSecond: number }): void {
  const { size } = cluster!;
  const places = new Uint32Array(size.endpoints);
  const pods = new Uint32Array(size.endpoints);
  const began = performance.now();
  let [turn, done] = [0, 0];
  const step = (): number => {
    // Neighbouring numbers are on different nodes; the stride visits all.
    const i = (turn * 7_919) % size.endpoints;
    const before = cluster!.endpoint(i, places[i], pods[i]) as { metadata: { name: string; namespace: string } };
    const { name, namespace } = before.metadata;
    places[i]!++;
    if (turn++ % 3 === 0) {
      server.load([cluster!.endpoint(i, places[i], pods[i])]);
      return 1;
    }
    pods[i]!++;
    server.remove('cilium.io/v2/ciliumendpoints', name, namespace);
    server.load([cluster!.endpoint(i, places[i], pods[i])]);
    return 2;
  };
  changing = setInterval(() => {
    const due = ((performance.now() - began) / 1000) * perSecond;
    while (done < due) done += step();
    changes = done;
  }, 10);
}

/** Answers how many changes there were, and how much of a processor the server has taken in all, in seconds. */
export function endChurn(): { changes: number; cpu: number } {
  clearInterval(changing);
  const { user, system } = process.cpuUsage();
  return { changes, cpu: (user + system) / 1e6 };
}

/** When, by the monotonic clock in nanoseconds, requests were sent and the last of them answered. */
export interface Sent {
  readonly sent: string;
  readonly answered: string;
}

/** What {@link write} writes. */
export interface Writing {
  /** Of the collection. */
  readonly path: string;
  readonly objects: readonly Json[];
  /** Whether the objects are there already, and get this `spec`. */
  readonly replace: boolean;
}

/** Writes objects by requests, as `kubectl` does, a few at a time. */
export async function write({ client }: Place, { path, objects, replace }: Writing): Promise<Sent> {
  const sent = process.hrtime.bigint();
  const queue = [...objects];
  const worker = async (): Promise<void> => {
    for (let body = queue.shift(); body !== undefined; body = queue.shift()) {
      if (!replace) await client.request({ method: 'POST', path, body });
      else {
        const { name } = body['metadata'] as { name: string };
        const patch = { spec: body['spec'] };
        await client.request({ method: 'PATCH', path: `${path}/${name}`, body: patch, contentType: PATCH.merge });
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return { sent: String(sent), answered: String(process.hrtime.bigint()) };
}

/** Deletes objects by requests. */
export async function erase(
  { client }: Place,
  { path, names }: { path: string; names: readonly string[] },
): Promise<void> {
  for (const name of names) await client.request({ method: 'DELETE', path: `${path}/${name}` });
}
