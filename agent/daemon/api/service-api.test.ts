import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr } from '../../model/address.ts';
import { port, PROTOCOL } from '../../model/port.ts';
import type { Backend, BackendId, Frontend, FrontendId } from '../../model/service.ts';
import { ServiceApiAdapter } from './service-api.ts';

const backend = (id: number, state: Backend['state']): Backend => ({
  id: id as BackendId,
  ...{ address: parseAddress(`10.0.0.${id}`), port: port(8080), protocol: PROTOCOL.TCP },
  ...{ state, node: `n${id}`, zone: undefined },
});

const frontend = (id: number, parts: Partial<Frontend>): Frontend => ({
  id: id as FrontendId,
  ...{ address: parseAddress('10.96.0.1'), port: port(80), protocol: PROTOCOL.TCP, kind: 'ClusterIP' },
  ...{ service: 'shop/web', portName: '', internalTrafficPolicy: 'Cluster', externalTrafficPolicy: 'Cluster' },
  ...{ backends: [], externalBackends: [], affinitySeconds: 0, sourceRanges: undefined },
  ...parts,
});

const [one, two] = [1, 2] as BackendId[];

test('a frontend in the words of the API', () => {
  const api = new ServiceApiAdapter({
    backends: [backend(1, 'active'), backend(2, 'unready')],
    frontends: [
      frontend(7, {
        kind: 'LoadBalancer',
        portName: 'http',
        externalTrafficPolicy: 'Local',
        affinitySeconds: 60,
        sourceRanges: [parseCidr('192.0.2.0/24')],
        backends: [one!, two!],
        externalBackends: [two!],
      }),
      frontend(3, { backends: [one!], externalBackends: [one!] }),
    ],
  });
  assert.deepEqual(
    api
      .list()
      .map(({ spec }) => [
        spec?.id,
        spec?.['frontend-address']?.scope,
        spec?.flags?.trafficPolicy,
        spec?.['backend-addresses']?.map(({ ip, state, nodeName }) => `${ip} ${state} ${nodeName}`),
      ]),
    [
      [3, 'external', 'Cluster', ['10.0.0.1 active n1']],
      [7, 'external', 'Local', ['10.0.0.2 quarantined n2']],
      [7, 'internal', 'Cluster', ['10.0.0.1 active n1', '10.0.0.2 quarantined n2']],
    ],
  );
  const { spec, status } = api.get(7);
  assert.ok(spec !== undefined);
  assert.deepEqual(spec, status?.realized);
  assert.deepEqual(spec['frontend-address'], { ip: '10.96.0.1', port: 80, protocol: 'TCP', scope: 'external' });
  assert.deepEqual(spec.flags, {
    ...{ name: 'web', namespace: 'shop', type: 'LoadBalancer', natPolicy: 'None', portName: 'http' },
    ...{ trafficPolicy: 'Local', extTrafficPolicy: 'Local', intTrafficPolicy: 'Cluster' },
    ...{ sessionAffinitySeconds: 60, sourceRanges: ['192.0.2.0/24'] },
  });
  assert.throws(() => api.get(8), { code: 'SERVICE_NOT_FOUND', object: 'service 8' });
});
