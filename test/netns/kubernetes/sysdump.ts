/** What `weir sysdump` writes of a real agent and of what its API server stores, and what it may not. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { runAsync } from '../../harness/exec.ts';
import { dist } from '../../harness/node.ts';
import { uniqueName } from '../../harness/run.ts';
import { POLICIES, type Scene } from './scene.ts';

/** Nobody may find it in a bundle. */
const PLANTED = 'hunter2-hunter2-hunter2';

/** What docs/agent.md promises besides the maps and the machine. */
const PROMISED = [
  ...['status', 'config', 'endpoints', 'identities', 'policy', 'selectors', 'ipcache', 'services', 'nodes', 'health'],
  ...['fqdn-cache', 'debuginfo'],
].map((name) => `agent/${name}.json`);

/** Maps that support asks for first: what is enforced, to whom, and what is under way. */
const MAPS = ['weir_ipcache', 'weir_ct4', 'weir_metrics'].map((name) => `maps/${name}.json`);

/** A bundle, read back. */
class Bundle implements Disposable {
  readonly #directory = mkdtempSync(path.join(tmpdir(), `${uniqueName('sysdump')}-`));
  readonly file = path.join(this.#directory, 'dump.tar.gz');
  readonly #content = path.join(this.#directory, 'content');

  async extract(): Promise<readonly string[]> {
    mkdirSync(this.#content);
    const { stdout, status } = await runAsync(['tar', '-xvzf', this.file, '-C', this.#content]);
    assert.equal(status, 0);
    return stdout
      .trim()
      .split('\n')
      .map((name) => name.replace('weir-sysdump/', ''));
  }

  read(name: string): string {
    return readFileSync(path.join(this.#content, 'weir-sysdump', name), 'utf8');
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Plants a token wherever users leave them, takes a bundle, and looks into it. */
export async function sysdump(_t: TestContext, { cluster: { server: api }, members, server }: Scene): Promise<void> {
  const [{ node }] = members;
  await api.create('/api/v1/namespaces/default/secrets', {
    ...{ metadata: { name: 'planted' }, stringData: { token: PLANTED } },
  });
  await api.create('/api/v1/namespaces/default/configmaps', { metadata: { name: 'planted' }, data: { any: PLANTED } });
  const annotations = {
    'kubectl.kubernetes.io/last-applied-configuration': `{"x":"${PLANTED}"}`,
    'api-token': PLANTED,
  };
  const http = [{ path: '/planted', headers: [`X-Auth: ${PLANTED}`] }];
  const toPorts = [{ ports: [{ port: '8088', protocol: 'TCP' }], rules: { http } }];
  await api.create(POLICIES, {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'planted', annotations } },
    spec: { endpointSelector: { matchLabels: { app: 'nobody' } }, ingress: [{ toPorts }] },
  });
  using bundle = new Bundle();
  const words = ['sysdump', '--output-filename', bundle.file, '--kubeconfig', api.kubeconfig('admin')];
  const { status, stderr } = await runAsync([
    ...[...node.ns.enter, path.join(dist, 'weir'), '--socket', node.socket, ...words],
  ]);
  const names = await bundle.extract();
  // Machines have not all of the tools; what the agent and the API server are asked for is there.
  const failures = names.includes('failures.txt') ? bundle.read('failures.txt').trim().split('\n') : [];
  assert.deepEqual(
    failures.filter((line) => !line.startsWith('machine/')),
    [],
    stderr,
  );
  assert.equal(status, failures.length === 0 ? 0 : 1, stderr);
  for (const name of [...PROMISED, ...MAPS, 'agent/metrics.txt', 'agent/events.ndjson', 'machine/links.txt'])
    assert.ok(names.includes(name), `${name} in ${names.join(' ')}`);
  assert.match(bundle.read('agent/endpoints.json'), new RegExp(server.name));
  assert.match(bundle.read('agent/metrics.txt'), /^cilium_/m);
  assert.match(bundle.read('cluster/CiliumNode.json'), new RegExp(node.name));
  assert.match(bundle.read('cluster/CiliumEndpointSlice.json'), new RegExp(server.name));
  assert.match(
    bundle.read('cluster/CiliumNetworkPolicy.json'),
    /"path": "\/planted"/,
    'the policy, but for its secrets',
  );
  for (const name of names) assert.ok(!bundle.read(name).includes(PLANTED), `the planted token is in ${name}`);
}
