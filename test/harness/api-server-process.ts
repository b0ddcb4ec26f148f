/**
 * The API server of a cluster under test, in a namespace of its own and therefore in a process of its own.
 *
 *   node test/harness/api-server-process.ts HOST KUBECONFIG
 *
 * The test speaks over the channel of the process: requests to the API, and `stop` and `start` of the server, which keeps
 * what it stores, as an API server on etcd does.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ApiClient, type ApiRequest } from '../../agent/k8s/apiserver/client.ts';
import { Credentials } from '../../agent/k8s/apiserver/credentials.ts';
import { systemClock } from '../../agent/model/clock.ts';
import type { Json } from '../fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../fakes/kube-apiserver/server.ts';

/** What the test asks for. */
export type Order =
  | { readonly id: number; readonly do: 'request'; readonly request: ApiRequest }
  | { readonly id: number; readonly do: 'stop' | 'start' };

/** What it gets. */
export interface OrderAnswer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

const [host = '', kubeconfig = ''] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, '../..');
let server = await new KubeApiServer({ host, bookmarkMs: 5_000 }).start();
for (const file of ['install/crds.yaml', 'install/kubernetes/rbac.yaml'])
  for (const document of parseAllDocuments(readFileSync(path.join(root, file), 'utf8')))
    if (document.contents !== null) server.apply(document.toJS() as Json);
// Agents may do what the manifests of their installation say, and no more.
writeFileSync(kubeconfig, server.kubeconfig(server.token('system:serviceaccount:kube-system:weir-agent')));
const admin = `${kubeconfig}.admin`;
writeFileSync(admin, server.kubeconfig());
const client = new ApiClient({
  credentials: Credentials.load({ kubeconfig: admin, servers: [], clock: systemClock }),
  userAgent: 'test',
  clock: systemClock,
});

async function obey(order: Order): Promise<unknown> {
  if (order.do === 'request') return await client.request(order.request);
  if (order.do === 'stop') {
    // Connections that are being made may outlive it; nobody waits for them.
    void server.stop();
    return undefined;
  }
  const { store, users, certificate, port } = server;
  server = new KubeApiServer({ host, port, store, users, ...(certificate !== undefined && { tls: certificate }) });
  await server.start();
  return undefined;
}

process.on('message', (order: Order) => {
  obey(order).then(
    (result) => process.send!({ id: order.id, result } satisfies OrderAnswer),
    (error: unknown) => process.send!({ id: order.id, error: String(error) } satisfies OrderAnswer),
  );
});
process.on('disconnect', () => process.exit(0));
process.send!({ id: 0 } satisfies OrderAnswer);
