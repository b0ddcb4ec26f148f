/** The real kubectl against the server: what people type. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../../../agent/k8s/crds/index.ts';
import { runAsync } from '../../harness/exec.ts';
import { uniqueName } from '../../harness/run.ts';
import { KubeApiServer } from './server.ts';

const MANIFEST = `
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ name: http, port: 80 }, { name: https, port: 443 }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web }
spec:
  endpointSelector: { matchLabels: { app: web } }
  ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }]
`;

describe('kubectl', { timeout: 300_000 }, () => {
  let server: KubeApiServer;
  let folder = '';
  before(async () => {
    server = await new KubeApiServer().start();
    folder = mkdtempSync(path.join(tmpdir(), `${uniqueName('kubectl')}-`));
    writeFileSync(path.join(folder, 'config'), server.kubeconfig());
    for (const crd of CUSTOM_RESOURCE_DEFINITIONS) server.apply(crd);
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await server.stop();
  });

  async function tryKubectl(args: string, input?: string): Promise<{ status: number; stdout: string; stderr: string }> {
    const env = { ...process.env, HOME: folder, KUBECONFIG: path.join(folder, 'config') };
    return await runAsync(['kubectl', ...args.split(' ')], { env, ...(input !== undefined && { input }) });
  }

  async function kubectl(args: string, input?: string): Promise<string> {
    const { status, stdout, stderr } = await tryKubectl(args, input);
    assert.equal(status, 0, `kubectl ${args}: ${stderr}`);
    return stdout;
  }

  test('apply: creates, changes what changed, and nothing else', async () => {
    assert.match(
      await kubectl('apply -f -', MANIFEST),
      /service\/web created\n.*ciliumnetworkpolicy.cilium.io\/web created/,
    );
    assert.match(await kubectl('apply -f -', MANIFEST), /service\/web unchanged\n.*web unchanged/);
    const changed = MANIFEST.replace('port: 443', 'port: 8443').replace('"80"', '"8080"');
    assert.match(await kubectl('apply -f -', changed), /service\/web configured\n.*web configured/);
    assert.equal(await kubectl('get service web -o jsonpath={.spec.ports[*].port}'), '80 8443');
  });

  test('an invalid policy, and a misspelt field, are refused', async () => {
    const invalid = await tryKubectl('apply -f -', MANIFEST.replace('TCP', 'TPC').replaceAll('name: web', 'name: bad'));
    assert.notEqual(invalid.status, 0);
    assert.match(
      invalid.stderr,
      /"bad" is invalid: spec\.ingress\[0\]\.toPorts\[0\]\.ports\[0\]\.protocol: Unsupported value: "TPC"/,
    );
    const misspelt = await tryKubectl(
      'create -f -',
      MANIFEST.replace('toPorts', 'toPort').replaceAll('name: web', 'name: worse'),
    );
    assert.match(misspelt.stderr, /strict decoding error: unknown field "spec\.ingress\[0\]\.toPort"/);
  });

  test('get shows the printer columns of Weir’s kinds', async () => {
    server.apply({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata: { name: '4242', labels: { 'io.kubernetes.pod.namespace': 'default' } },
      'security-labels': { 'k8s:a': 'b' },
    });
    server.apply({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNode',
      metadata: { name: 'n1' },
      spec: { addresses: [{ type: 'InternalIP', ip: '192.0.2.1' }] },
    });
    server.apply({ apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata: { name: 'p' } });
    const shown = await kubectl('get cnp,ccnp,cep,ciliumid,cn');
    for (const header of [
      /NAME +AGE +VALID/,
      /NAME +SECURITY IDENTITY +ENDPOINT STATE +IPV4 +IPV6/,
      /NAME +NAMESPACE +AGE/,
      /NAME +CILIUMINTERNALIP +INTERNALIP +AGE/,
    ])
      assert.match(shown, header);
    assert.match(shown, /ciliumidentity.cilium.io\/4242 +default/);
  });

  test('create, label, patch, scale, describe, wait, delete', async () => {
    await kubectl('create namespace shop');
    await kubectl('run web -n shop --image=nginx:1 --labels=app=web --port=80');
    assert.match(await kubectl('get pods -n shop -l app=web -o wide'), /web +0\/1 +Pending/);
    assert.match(await kubectl('describe pod web -n shop'), /Labels: +app=web[\s\S]*Image: +nginx:1/);
    assert.match(await kubectl('describe cnp web'), /Kind: +CiliumNetworkPolicy[\s\S]*Port: +8080/);
    await kubectl('label pod web -n shop tier=front');
    const waiting = kubectl('wait pod/web -n shop --for=condition=Ready --timeout=60s');
    await kubectl(
      'patch pod web -n shop --subresource=status --type=merge -p {"status":{"conditions":[{"type":"Ready","status":"True"}]}}',
    );
    assert.match(await waiting, /condition met/);
    await kubectl('create configmap c -n shop --from-literal=a=1');
    await kubectl('patch configmap c -n shop --type=json -p [{"op":"replace","path":"/data/a","value":"2"}]');
    await kubectl('patch configmap c -n shop -p {"data":{"b":"3"}}');
    assert.equal(await kubectl('get configmap c -n shop -o jsonpath={.data.a}{.data.b}'), '23');
    assert.match(await kubectl('delete namespace shop --timeout=60s'), /deleted/);
    assert.equal((await tryKubectl('get pod web -n shop')).status, 1);
  });

  test('server-side apply: owners, conflicts, and what nobody wants any more', async () => {
    const config = (data: string): string =>
      `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ssa }\ndata: { ${data} }\n`;
    await kubectl('apply --server-side --field-manager=one -f -', config('a: "1", b: "1"'));
    const conflict = await tryKubectl('apply --server-side --field-manager=two -f -', config('a: "2", c: "2"'));
    assert.match(conflict.stderr, /conflict with "one".*\.data\.a/s);
    await kubectl('apply --server-side --field-manager=two --force-conflicts -f -', config('a: "2", c: "2"'));
    await kubectl('apply --server-side --field-manager=one -f -', config('b: "1"'));
    const data = async (): Promise<unknown> =>
      JSON.parse(await kubectl('get configmap ssa -o jsonpath={.data}')) as unknown;
    assert.deepEqual(await data(), { a: '2', b: '1', c: '2' });
    await kubectl('apply --server-side --field-manager=two -f -', config('c: "2"'));
    assert.deepEqual(await data(), { b: '1', c: '2' });
    const managers = await kubectl(
      'get configmap ssa --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}',
    );
    assert.deepEqual(managers.split(' ').sort(), ['one', 'two']);
  });

  test('explain, and what one may do', async () => {
    assert.match(await kubectl('explain cnp.spec.endpointSelector'), /matchLabels/);
    assert.equal(await kubectl('auth can-i delete pods'), 'yes\n');
  });
});
