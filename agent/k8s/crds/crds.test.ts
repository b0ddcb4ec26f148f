import assert from 'node:assert/strict';
import { readFileSync, globSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { Client } from '../../../test/fakes/kube-apiserver/client.ts';
import { listAt, textAt, type Json } from '../../../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../../../test/fakes/kube-apiserver/server.ts';
import { CUSTOM_RESOURCE_DEFINITIONS } from './index.ts';

const root = path.resolve(import.meta.dirname, '../../..');
const CNP = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';
const TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' };

const policy = (name: string, spec: unknown): Json => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name },
  spec,
});

describe('custom resource definitions', () => {
  let server: KubeApiServer;
  let client: Client;
  before(async () => {
    server = await new KubeApiServer({ tls: false }).start();
    client = new Client(server);
  });
  after(() => server.stop());

  test('an API server establishes them all', async () => {
    for (const crd of CUSTOM_RESOURCE_DEFINITIONS) {
      const { code, body } = await client.post('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd);
      assert.equal(code, 201, JSON.stringify(body));
      assert.ok(
        listAt(body, 'status', 'conditions').every((condition) => textAt(condition, 'status') === 'True'),
        crd.metadata.name,
      );
    }
    const { body } = await client.get('/apis/cilium.io/v2');
    const resources = listAt(body, 'resources').map((resource) =>
      `${textAt(resource, 'name')} ${listAt(resource, 'shortNames').join(',')}`.trim(),
    );
    assert.deepEqual(resources.sort(), [
      'ciliumcidrgroups ccg',
      'ciliumclusterwidenetworkpolicies ccnp',
      'ciliumclusterwidenetworkpolicies/status',
      'ciliumendpoints cep,ciliumep',
      'ciliumendpoints/status',
      'ciliumidentities ciliumid',
      'ciliumidentities/status',
      'ciliumnetworkpolicies cnp,ciliumnp',
      'ciliumnetworkpolicies/status',
      'ciliumnodes cn,ciliumn',
      'ciliumnodes/status',
    ]);
    assert.equal((await client.get('/apis/cilium.io/v2alpha1/ciliumendpointslices')).code, 200);
    assert.equal((await client.get('/apis/cilium.io/v2alpha1/ciliumcidrgroups')).code, 200);
  });

  test('the policies of the documentation are let in, whole', () => {
    let seen = 0;
    for (const file of globSync('docs/policies/*.yaml', { cwd: root })) {
      for (const document of parseAllDocuments(readFileSync(path.join(root, file), 'utf8'))) {
        const object = document.toJS() as Json;
        if (object['apiVersion'] !== 'cilium.io/v2') continue;
        const metadata = { ...(object['metadata'] as Json) };
        delete metadata['namespace'];
        server.apply({ ...object, metadata });
        seen++;
      }
    }
    assert.ok(seen > 8);
  });

  const INVALID: Readonly<Record<string, [spec: unknown, field: string]>> = {
    'no subject': [{ ingress: [{}] }, 'spec'],
    'no section': [{ endpointSelector: {} }, 'spec'],
    'a port that is a number': [
      { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: 80 }] }] }] },
      'spec.ingress[0].toPorts[0].ports[0].port',
    ],
    'a port beyond the last': [
      { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '65536' }] }] }] },
      'spec.ingress[0].toPorts[0].ports[0].port',
    ],
    'a protocol that is none': [
      { endpointSelector: {}, egress: [{ toPorts: [{ ports: [{ port: '80', protocol: 'TPC' }] }] }] },
      'spec.egress[0].toPorts[0].ports[0].protocol',
    ],
    'an entity that is none': [
      { endpointSelector: {}, ingress: [{ fromEntities: ['wrold'] }] },
      'spec.ingress[0].fromEntities[0]',
    ],
    'a prefix that is none': [
      { endpointSelector: {}, ingress: [{ fromCIDRSet: [{ cidr: '10.0.0.0' }] }] },
      'spec.ingress[0].fromCIDRSet[0].cidr',
    ],
    'a name with a star': [
      { endpointSelector: {}, egress: [{ toFQDNs: [{ matchName: '*.x' }] }] },
      'spec.egress[0].toFQDNs[0].matchName',
    ],
  };
  for (const [what, [spec, field]] of Object.entries(INVALID)) {
    test(`refused at creation: ${what}`, async () => {
      const { code, body } = await client.post(CNP, policy('bad', spec));
      assert.equal(code, 422);
      const fields = listAt(body, 'details', 'causes').map((cause) => textAt(cause, 'field'));
      assert.ok(fields.includes(field), JSON.stringify(fields));
    });
  }

  test('a misspelt field is refused by a strict client', async () => {
    const { code, body } = await client.post(
      `${CNP}?fieldValidation=Strict`,
      policy('bad', { endpointSelector: {}, ingres: [] }),
    );
    assert.equal(code, 400);
    assert.match(textAt(body, 'message'), /unknown field "spec.ingres"/);
  });

  test('printer columns', async () => {
    const meta = { metadata: { name: 'p' } };
    await client.post(CNP, policy('p', { endpointSelector: {}, ingress: [{}] }));
    await client.request(
      'PATCH',
      `${CNP}/p/status`,
      { status: { conditions: [{ type: 'Valid', status: 'False' }] } },
      { 'content-type': 'application/merge-patch+json' },
    );
    await client.post('/apis/cilium.io/v2/namespaces/default/ciliumendpoints', meta);
    const status = {
      id: 7,
      identity: { id: 4242 },
      state: 'ready',
      networking: { addressing: [{ ipv4: '10.1.0.1', ipv6: 'fd00::1' }] },
    };
    await client.request(
      'PATCH',
      '/apis/cilium.io/v2/namespaces/default/ciliumendpoints/p/status',
      { status },
      { 'content-type': 'application/merge-patch+json' },
    );
    await client.post('/apis/cilium.io/v2/ciliumidentities', {
      metadata: { name: '4242', labels: { 'io.kubernetes.pod.namespace': 'default' } },
      'security-labels': { 'k8s:app': 'x' },
    });
    await client.post('/apis/cilium.io/v2/ciliumnodes', {
      metadata: { name: 'n' },
      spec: {
        addresses: [
          { type: 'InternalIP', ip: '192.0.2.1' },
          { type: 'CiliumInternalIP', ip: '10.1.0.9' },
        ],
      },
    });
    const row = async (path_: string): Promise<Json> => {
      const { body } = await client.get(path_, TABLE);
      const columns = listAt(body, 'columnDefinitions').map((column) => textAt(column, 'name'));
      const cells = listAt(body, 'rows', '0', 'cells');
      const named = columns.map((name, i): [string, unknown] => [name, cells[i]]);
      return Object.fromEntries(named.filter(([name]) => name !== 'Age'));
    };
    assert.deepEqual(await row(`${CNP}?fieldSelector=metadata.name%3Dp`), { Name: 'p', Valid: 'False' });
    assert.deepEqual(await row('/apis/cilium.io/v2/ciliumendpoints'), {
      Name: 'p',
      'Security Identity': 4242,
      'Ingress Enforcement': null,
      'Egress Enforcement': null,
      'Endpoint State': 'ready',
      IPv4: '10.1.0.1',
      IPv6: 'fd00::1',
    });
    assert.deepEqual(await row('/apis/cilium.io/v2/ciliumidentities'), { Name: '4242', Namespace: 'default' });
    assert.deepEqual(await row('/apis/cilium.io/v2/ciliumnodes'), {
      Name: 'n',
      CiliumInternalIP: '10.1.0.9',
      InternalIP: '192.0.2.1',
    });
  });

  test('the labels of an identity never change', async () => {
    const path_ = '/apis/cilium.io/v2/ciliumidentities/4242';
    const changed = await client.request(
      'PATCH',
      path_,
      { 'security-labels': { 'k8s:app': 'y' } },
      { 'content-type': 'application/merge-patch+json' },
    );
    assert.equal(changed.code, 422);
    const annotated = await client.request(
      'PATCH',
      path_,
      { metadata: { annotations: { 'io.cilium.heartbeat': 'now' } } },
      { 'content-type': 'application/merge-patch+json' },
    );
    assert.equal(annotated.code, 200);
  });
});
