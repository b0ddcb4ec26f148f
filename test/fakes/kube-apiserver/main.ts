/**
 * A Kubernetes API server for tests, in a process of its own.
 *
 *   node test/fakes/kube-apiserver/main.ts [--port N] [--host ADDRESS] [--kubeconfig FILE] [--admin-token TOKEN]
 *     [--name NAME…] [--plain-http] [--bookmark-ms N] [--history N] [--record-requests] [--manifests FILE…]
 *
 * Prints one line of JSON, `{"url":…,"adminToken":…}`, when it is ready.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseAllDocuments } from 'yaml';
import type { Json } from './object.ts';
import { KubeApiServer } from './server.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    kubeconfig: { type: 'string' },
    'admin-token': { type: 'string' },
    name: { type: 'string', multiple: true, default: [] },
    'plain-http': { type: 'boolean', default: false },
    'bookmark-ms': { type: 'string' },
    history: { type: 'string' },
    'record-requests': { type: 'boolean', default: false },
    manifests: { type: 'string', multiple: true, default: [] },
  },
});

const server = await new KubeApiServer({
  port: Number(values.port),
  host: values.host,
  recordRequests: values['record-requests'],
  names: values.name,
  ...(values['plain-http'] && { tls: false }),
  ...(values['admin-token'] !== undefined && { adminToken: values['admin-token'] }),
  ...(values['bookmark-ms'] !== undefined && { bookmarkMs: Number(values['bookmark-ms']) }),
  ...(values.history !== undefined && { history: Number(values.history) }),
}).start();
for (const file of values.manifests)
  for (const document of parseAllDocuments(readFileSync(file, 'utf8')))
    if (document.contents !== null) server.apply(document.toJS() as Json);
if (values.kubeconfig !== undefined) writeFileSync(values.kubeconfig, server.kubeconfig(), { mode: 0o600 });
console.log(JSON.stringify({ url: server.url, adminToken: server.users.adminToken }));

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void server.stop().then(() => process.exit(0)));
