/**
 * The API server of a cluster under test, in a namespace of its own and therefore in a process of its own.
 *
 *   node test/harness/api-server-process.ts HOST DIRECTORY [--definitions] [--new-epoch] [--module FILE]
 *
 * What it stores, its port, certificate and tokens are in the directory: killed and started again, it is the same server.
 * Beside them are the kubeconfig files of the agents, the operator and the administrator. The test speaks over the channel of
 * the process. It can call the functions of a module, which load the server, or keep it busy, without a request for each
 * object; what such a server stores is in memory alone.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { ApiClient, type ApiRequest } from '../../agent/k8s/apiserver/client.ts';
import { Credentials } from '../../agent/k8s/apiserver/credentials.ts';
import { systemClock } from '../../agent/model/clock.ts';
import type { Certificate } from '../fakes/kube-apiserver/certificate.ts';
import { openStore } from '../fakes/kube-apiserver/journal.ts';
import type { Json } from '../fakes/kube-apiserver/object.ts';
import { KubeApiServer, type RequestRecord } from '../fakes/kube-apiserver/server.ts';
import { Store } from '../fakes/kube-apiserver/store.ts';
import { Users } from '../fakes/kube-apiserver/users.ts';

/** What the test asks for. */
export type Order =
  | { readonly id: number; readonly do: 'request'; readonly request: ApiRequest }
  /** What was asked of this process, and what came of it. */
  | { readonly id: number; readonly do: 'records' }
  | { readonly id: number; readonly do: 'call'; readonly duty: string; readonly argument: unknown };

/** A function of the module: `client` speaks to the server as the administrator. */
export type Duty = (place: { readonly server: KubeApiServer; readonly client: ApiClient }, argument: never) => unknown;

/** What it gets. */
export interface OrderAnswer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** Whose kubeconfig files there are; they may do what the manifests of the installation say, and no more. */
export const ACCOUNTS = { agent: 'weir-agent', operator: 'weir-operator' } as const;

/** What makes it the same server after a restart. */
interface Self {
  readonly port: number;
  readonly certificate: Certificate;
  readonly adminToken: string;
  readonly tokens: Readonly<Record<keyof typeof ACCOUNTS, string>>;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    definitions: { type: 'boolean', default: false },
    'new-epoch': { type: 'boolean', default: false },
    module: { type: 'string' },
  },
});
const [host = '', directory = ''] = positionals;
const root = path.resolve(import.meta.dirname, '../..');
const selfFile = path.join(directory, 'server.json');
const self = existsSync(selfFile) ? (JSON.parse(readFileSync(selfFile, 'utf8')) as Self) : undefined;
const { module } = values;
const duties = module === undefined ? {} : ((await import(pathToFileURL(module).href)) as Record<string, Duty>);
const store = module === undefined ? openStored() : new Store();

const users = new Users(self?.adminToken);
const tokens = Object.fromEntries(
  (Object.keys(ACCOUNTS) as (keyof typeof ACCOUNTS)[]).map((account) => {
    const token = self?.tokens[account];
    const user = `system:serviceaccount:kube-system:${ACCOUNTS[account]}`;
    return [account, users.issue(user, token === undefined ? {} : { token })];
  }),
) as Self['tokens'];
const server = await new KubeApiServer({
  ...{ host, users, store, bookmarkMs: 5_000, recordRequests: true },
  ...(self !== undefined && { port: self.port, tls: self.certificate }),
}).start();
const admin = path.join(directory, 'kubeconfig.admin');
if (self === undefined) found();

const client = new ApiClient({
  credentials: Credentials.load({ kubeconfig: admin, servers: [], clock: systemClock }),
  userAgent: 'test',
  clock: systemClock,
});

function openStored(): Store {
  const stored = openStore(path.join(directory, 'store'));
  if (values['new-epoch']) stored.beginEpoch();
  return stored.store;
}

/** The first start: what the installation of a cluster brings, and who may speak to it. */
function found(): void {
  for (const file of [...(values.definitions ? ['install/crds.yaml'] : []), 'install/kubernetes/rbac.yaml'])
    for (const document of parseAllDocuments(readFileSync(path.join(root, file), 'utf8')))
      if (document.contents !== null) server.apply(document.toJS() as Json);
  for (const [account, token] of Object.entries(tokens))
    writeFileSync(path.join(directory, `kubeconfig.${account}`), server.kubeconfig(token));
  writeFileSync(admin, server.kubeconfig());
  const { port, certificate } = server;
  writeFileSync(
    selfFile,
    JSON.stringify({ port, certificate: certificate!, adminToken: users.adminToken, tokens } satisfies Self),
  );
}

async function obey(order: Order): Promise<unknown> {
  if (order.do === 'request') return await client.request(order.request);
  if (order.do === 'call') return await duties[order.duty]!({ server, client }, order.argument as never);
  return server.requests satisfies readonly RequestRecord[];
}

process.on('message', (order: Order) => {
  obey(order).then(
    (result) => process.send!({ id: order.id, result } satisfies OrderAnswer),
    (error: unknown) => process.send!({ id: order.id, error: String(error) } satisfies OrderAnswer),
  );
});
process.on('disconnect', () => process.exit(0));
process.send!({ id: 0 } satisfies OrderAnswer);
