import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress, parseCidr } from '../model/address.ts';
import { port, PROTOCOL } from '../model/port.ts';
import { socketKey, type Backend, type BackendId, type Frontend } from '../model/service.ts';
import { IdPool } from './id-pool.ts';
import { LoadBalancer } from './loadbalancer.ts';
import type { LbNode, LbService, LbServicePort, LbSlice, LbSliceEndpoint } from './service.ts';

const NODE: LbNode = { name: 'n1', addresses: [parseAddress('192.0.2.1'), parseAddress('2001:db8::1')] };

const web: LbServicePort = {
  name: 'web',
  protocol: PROTOCOL.TCP,
  port: port(80),
  targetPort: port(8080),
  nodePort: undefined,
};

function service(parts: Partial<LbService> = {}): LbService {
  return {
    type: 'ClusterIP',
    headless: false,
    clusterAddresses: [parseAddress('10.96.0.1')],
    externalAddresses: [],
    loadBalancerAddresses: [],
    loadBalancerSourceRanges: [],
    ports: [web],
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    healthCheckNodePort: undefined,
    sessionAffinitySeconds: undefined,
    ...parts,
  };
}

function at(address: string, parts: Partial<LbSliceEndpoint> = {}): LbSliceEndpoint {
  const addresses = [parseAddress(address)];
  return { addresses, ready: true, serving: true, terminating: false, nodeName: 'n1', zone: undefined, ...parts };
}

function slice(endpoints: readonly LbSliceEndpoint[], parts: Partial<LbSlice> = {}): LbSlice {
  const ports = [{ name: 'web', protocol: PROTOCOL.TCP, port: port(8080) }];
  return { namespace: 'default', service: 'web', family: 4, endpoints, ports, ...parts };
}

/** The state in domain terms, without numbers: sorted lines. */
function dump(lb: LoadBalancer): string[] {
  return dumpOf(lb.frontends, lb.backends);
}

function dumpOf(frontends: readonly Frontend[], backends: readonly Backend[]): string[] {
  const key = new Map<BackendId, string>(backends.map((backend) => [backend.id, socketKey(backend)]));
  const sockets = (ids: readonly BackendId[]) => `[${ids.map((id) => key.get(id)).join(' ')}]`;
  return [
    ...frontends.map((f) => {
      const outside = sockets(f.externalBackends);
      const inside = sockets(f.backends);
      return `${f.kind} ${socketKey(f)} ${f.service} -> ${inside}${outside === inside ? '' : ` outside ${outside}`}`;
    }),
    ...backends.map((b) => `${socketKey(b)} ${b.state}`),
  ].sort();
}

function only(parts: Partial<LbService>, ...slices: readonly LbSlice[]): LoadBalancer {
  const lb = new LoadBalancer(NODE);
  lb.setService('default', 'web', service(parts));
  for (const [i, item] of slices.entries()) lb.setSlice('default', `web-${i}`, item);
  lb.changes();
  return lb;
}

describe('frontends', () => {
  test('a cluster address leads to the ready endpoints of its family', () => {
    const addresses = [parseAddress('10.96.0.1'), parseAddress('fd00::1')];
    const lb = only(
      { clusterAddresses: addresses },
      slice([at('10.0.0.1'), at('10.0.0.2', { ready: false, serving: false })]),
      slice([at('fd01::1')], { family: 6 }),
    );
    assert.deepEqual(dump(lb), [
      '10.0.0.1:8080/TCP active',
      '10.0.0.2:8080/TCP unready',
      'ClusterIP 10.96.0.1:80/TCP default/web -> [10.0.0.1:8080/TCP]',
      'ClusterIP [fd00::1]:80/TCP default/web -> [[fd01::1]:8080/TCP]',
      '[fd01::1]:8080/TCP active',
    ]);
  });

  test('a headless service, and a name for another name, have none', () => {
    assert.deepEqual(dump(only({ headless: true }, slice([at('10.0.0.1')]))), []);
    assert.deepEqual(dump(only({ type: 'ExternalName' }, slice([at('10.0.0.1')]))), []);
  });

  test('a load balancer answers at every kind of address', () => {
    const lb = only(
      {
        type: 'LoadBalancer',
        ports: [{ ...web, nodePort: port(30080) }],
        externalAddresses: [parseAddress('198.51.100.1')],
        loadBalancerAddresses: [parseAddress('198.51.100.2')],
        loadBalancerSourceRanges: [parseCidr('203.0.113.0/24')],
        externalTrafficPolicy: 'Local',
        sessionAffinitySeconds: 60,
      },
      slice([at('10.0.0.1'), at('10.0.0.2', { nodeName: 'n2' })]),
    );
    const both = '[10.0.0.1:8080/TCP 10.0.0.2:8080/TCP]';
    assert.deepEqual(
      dump(lb).filter((line) => !line.startsWith('10.')),
      [
        `ClusterIP 10.96.0.1:80/TCP default/web -> ${both}`,
        `ExternalIPs 198.51.100.1:80/TCP default/web -> ${both} outside [10.0.0.1:8080/TCP]`,
        `LoadBalancer 198.51.100.2:80/TCP default/web -> ${both} outside [10.0.0.1:8080/TCP]`,
        `NodePort 192.0.2.1:30080/TCP default/web -> ${both} outside [10.0.0.1:8080/TCP]`,
        `NodePort [2001:db8::1]:30080/TCP default/web -> []`,
      ],
    );
    const ranges = lb.frontends.filter(({ sourceRanges }) => sourceRanges !== undefined);
    assert.deepEqual(
      ranges.map(({ kind }) => kind),
      ['LoadBalancer'],
      'source ranges guard the address of the load balancer',
    );
    assert.ok(lb.frontends.every(({ affinitySeconds }) => affinitySeconds === 60));
  });

  test('the unspecified address is a node port at any node: any backend, and no table, for only clients here ask it', () => {
    const lb = new LoadBalancer({ name: 'n1', addresses: ['192.0.2.1', '0.0.0.0'].map(parseAddress) }, undefined, 251);
    const ports = [{ ...web, nodePort: port(30080) }];
    lb.setService('default', 'web', service({ type: 'NodePort', ports, externalTrafficPolicy: 'Local' }));
    lb.setSlice('default', 'web-0', slice([at('10.0.0.1'), at('10.0.0.2', { nodeName: 'n2' })]));
    lb.changes();
    const both = '[10.0.0.1:8080/TCP 10.0.0.2:8080/TCP]';
    assert.deepEqual(
      dump(lb).filter((line) => line.startsWith('NodePort')),
      [
        `NodePort 0.0.0.0:30080/TCP default/web -> ${both}`,
        `NodePort 192.0.2.1:30080/TCP default/web -> ${both} outside [10.0.0.1:8080/TCP]`,
      ],
    );
    const table = lb.tables();
    assert.deepEqual(lb.frontends.filter((frontend) => table(frontend) !== undefined).map(socketKey), [
      '192.0.2.1:30080/TCP',
    ]);
  });

  test('internalTrafficPolicy Local: own endpoints or none', () => {
    const lb = only({ internalTrafficPolicy: 'Local' }, slice([at('10.0.0.2', { nodeName: 'n2' })]));
    assert.match(dump(lb).at(-1)!, /-> \[\]$/);
    lb.setNode({ ...NODE, name: 'n2' });
    lb.changes();
    assert.match(dump(lb).at(-1)!, /-> \[10\.0\.0\.2:8080\/TCP\]$/);
  });

  test('terminating endpoints serve when nobody else does', () => {
    const going = { ready: false, terminating: true };
    const alone = only({}, slice([at('10.0.0.1', going), at('10.0.0.2', { ...going, serving: false })]));
    assert.match(dump(alone).at(-1)!, /-> \[10\.0\.0\.1:8080\/TCP\]$/);
    const helped = only({}, slice([at('10.0.0.1', going), at('10.0.0.3')]));
    assert.match(dump(helped).at(-1)!, /-> \[10\.0\.0\.3:8080\/TCP\]$/);
    assert.ok(dump(helped).includes('10.0.0.1:8080/TCP terminating'), 'it keeps what it has');
  });

  test('a slice without a port number means the target port, another name another port', () => {
    const open = slice([at('10.0.0.1')], { ports: [{ name: 'web', protocol: PROTOCOL.TCP, port: undefined }] });
    assert.match(dump(only({}, open)).at(-1)!, /10\.0\.0\.1:8080/);
    const other = slice([at('10.0.0.1')], { ports: [{ name: 'dns', protocol: PROTOCOL.TCP, port: port(53) }] });
    assert.match(dump(only({}, other)).at(-1)!, /-> \[\]$/);
  });
});

describe('two services, one socket', () => {
  const victim = service();
  const thief = service({ clusterAddresses: [], externalAddresses: [parseAddress('10.96.0.1')] });

  test('a cluster address is not taken as an external one, and who comes off badly is told', () => {
    for (const order of [0, 1]) {
      const lb = new LoadBalancer(NODE);
      const all = [['web', victim] as const, ['a-thief', thief] as const];
      for (const [name, view] of order === 0 ? all : all.toReversed()) lb.setService('default', name, view);
      lb.changes();
      assert.deepEqual(dump(lb), ['ClusterIP 10.96.0.1:80/TCP default/web -> []']);
      assert.deepEqual([...lb.refused.keys()], ['default/a-thief 10.96.0.1:80/TCP']);
      lb.setService('default', 'web', undefined);
      lb.changes();
      assert.deepEqual(dump(lb), ['ExternalIPs 10.96.0.1:80/TCP default/a-thief -> []']);
      assert.equal(lb.refused.size, 0);
    }
  });
});

describe('numbers', () => {
  test('stay while anybody asks, and come back as late as possible', () => {
    const lb = only({}, slice([at('10.0.0.1')]));
    const [id] = lb.backends.map((backend) => backend.id);
    lb.setService('default', 'other', service({ clusterAddresses: [parseAddress('10.96.0.2')] }));
    lb.setSlice('default', 'other', slice([at('10.0.0.1')], { service: 'other' }));
    lb.setSlice('default', 'web-0', undefined);
    const changes = lb.changes();
    assert.deepEqual([changes.backends.update, changes.backends.delete], [[], []]);
    lb.setSlice('default', 'other', undefined);
    assert.deepEqual(
      lb.changes().backends.delete.map((backend) => backend.id),
      [id],
    );
    lb.setSlice('default', 'other', slice([at('10.0.0.1')], { service: 'other' }));
    assert.notEqual(lb.changes().backends.update[0]?.id, id);
  });

  test('of an earlier life are kept until it is known who is left', () => {
    const known = { frontends: [['10.96.0.1:80/TCP', 7]] as const, backends: [['10.9.9.9:1/TCP', 1]] as const };
    const lb = new LoadBalancer(NODE, known);
    lb.setService('default', 'web', service());
    lb.setSlice('default', 'web', slice([at('10.0.0.1')]));
    const { frontends, backends } = lb.changes();
    assert.deepEqual([frontends.update[0]?.id, backends.update[0]?.id], [7, 2]);
    lb.forgetUnclaimed();
    lb.changes();
    assert.deepEqual(dump(lb).length, 2);
  });

  test('that connections of an earlier life still name are nobody else’s', () => {
    const lb = new LoadBalancer(NODE, { frontends: [], backends: [['10.9.9.9:1/TCP', 3]], newestBackend: 7 });
    lb.setService('default', 'web', service());
    lb.setSlice('default', 'web', slice([at('10.0.0.1')]));
    assert.equal(lb.changes().backends.update[0]?.id, 8);
  });

  test('run out for one service, not for the others', () => {
    const pool = new IdPool('frontends', 2);
    assert.deepEqual([pool.take('a'), pool.take('b'), pool.take('a')], [1, 2, 1]);
    assert.throws(() => pool.take('c'), { code: 'IDS_EXHAUSTED' });
    pool.release('a');
    assert.equal(pool.take('c'), 1);
  });
});

describe('increments', () => {
  const address = fc.integer({ min: 1, max: 4 }).map((n) => `10.0.0.${n}`);
  const endpoint = fc
    .record({
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      nodeName: fc.constantFrom('n1', 'n2', undefined),
    })
    .chain((parts) => address.map((text) => at(text, parts)));
  const anyService = fc
    .record({
      type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const, 'LoadBalancer' as const),
      headless: fc.boolean(),
      clusterAddresses: fc.subarray(['10.96.0.1', '10.96.0.2', 'fd00::1'].map(parseAddress)),
      externalAddresses: fc.subarray(['10.96.0.1', '198.51.100.1'].map(parseAddress)),
      loadBalancerAddresses: fc.subarray(['198.51.100.1', '198.51.100.2'].map(parseAddress)),
      externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
      internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
      ports: fc.subarray([
        { ...web, nodePort: port(30080) },
        { ...web, name: 'dns', port: port(53) },
      ]),
    })
    .map(service);
  const name = fc.constantFrom('a', 'b', 'c');
  const step = fc.oneof(
    fc.record({ kind: fc.constant('service' as const), name, to: fc.option(anyService, { nil: undefined }) }),
    fc.record({
      kind: fc.constant('slice' as const),
      name,
      to: fc.option(
        fc
          .tuple(fc.array(endpoint, { maxLength: 3 }), fc.option(name, { nil: undefined }))
          .map(([endpoints, of]) => slice(endpoints, { service: of })),
        { nil: undefined },
      ),
    }),
    fc.record({ kind: fc.constant('node' as const), name: fc.constantFrom('n1', 'n2') }),
    fc.record({ kind: fc.constant('settle' as const) }),
  );

  test('come to the same as building from scratch, and so does a follower who sees only the changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const lb = new LoadBalancer(NODE);
        const follower = { frontends: new Map<number, Frontend>(), backends: new Map<number, Backend>() };
        const services = new Map<string, LbService | undefined>();
        const slices = new Map<string, LbSlice | undefined>();
        let node = NODE;
        for (const item of [...steps, { kind: 'settle' as const }]) {
          if (item.kind === 'service') {
            lb.setService('default', item.name, item.to);
            services.set(item.name, item.to);
          } else if (item.kind === 'slice') {
            lb.setSlice('default', item.name, item.to);
            slices.set(item.name, item.to);
          } else if (item.kind === 'node') lb.setNode((node = { ...NODE, name: item.name }));
          else follow(follower, lb);
        }
        const scratch = new LoadBalancer(node);
        for (const [key, value] of slices) scratch.setSlice('default', key, value);
        for (const [key, value] of services) scratch.setService('default', key, value);
        scratch.changes();
        assert.deepEqual(dump(lb), dump(scratch));
        assert.deepEqual([...lb.refused.keys()].sort(), [...scratch.refused.keys()].sort());
        assert.deepEqual(dumpOf([...follower.frontends.values()], [...follower.backends.values()]), dump(lb));
      }),
    );
  });

  test('a change and its undoing are no change', () => {
    const lb = only({}, slice([at('10.0.0.1')]));
    lb.setSlice('default', 'web-0', slice([at('10.0.0.2')]));
    lb.setSlice('default', 'web-0', slice([at('10.0.0.1')]));
    assert.deepEqual(lb.changes(), { backends: { update: [], delete: [] }, frontends: { update: [], delete: [] } });
  });
});

/** A kernel: every backend that a frontend names is there at every moment. */
function follow(kernel: { frontends: Map<number, Frontend>; backends: Map<number, Backend> }, lb: LoadBalancer): void {
  const check = () => {
    for (const frontend of kernel.frontends.values()) {
      for (const id of [...frontend.backends, ...frontend.externalBackends]) assert.ok(kernel.backends.has(id));
    }
  };
  const { backends, frontends } = lb.changes();
  for (const backend of backends.update) kernel.backends.set(backend.id, backend);
  check();
  for (const frontend of frontends.update) kernel.frontends.set(frontend.id, frontend);
  for (const frontend of frontends.delete) kernel.frontends.delete(frontend.id);
  check();
  for (const backend of backends.delete) kernel.backends.delete(backend.id);
  check();
}

test('load balancers hear how many ready backends this node has, of services that keep clients to their node', () => {
  const lb = new LoadBalancer(NODE);
  const here = { nodeName: NODE.name };
  const four = slice([
    at('10.0.0.1', here),
    at('10.0.0.2', { ...here, ready: false, serving: true, terminating: true }),
    at('10.0.0.3', { nodeName: 'elsewhere' }),
  ]);
  lb.setSlice('default', 'web-4', four);
  lb.setSlice('default', 'web-6', { ...four, family: 6, endpoints: [at('fd00::1', here)] });
  const healthCheckNodePort = port(32_000);
  const local = service({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort });
  const heard = (changed: LbService): unknown => {
    lb.setService('default', 'web', changed);
    lb.changes();
    return [...lb.health()];
  };
  assert.deepEqual(heard(local), [['default/web', { port: 32_000, localEndpoints: 1 }]]);
  assert.deepEqual(heard({ ...local, externalTrafficPolicy: 'Cluster' }), []);
  assert.deepEqual(heard({ ...local, healthCheckNodePort: undefined }), []);
  assert.deepEqual(heard({ ...local, type: 'NodePort' }), []);
});

describe('host ports', () => {
  const lead = { hostPort: port(80), hostAddress: undefined, containerPort: port(8080), protocol: PROTOCOL.TCP };
  const addresses = [parseAddress('10.0.0.1'), parseAddress('fd00::1')];
  const node = { name: 'n1', addresses: ['192.0.2.1', '2001:db8::1', '127.0.0.1', '0.0.0.0', '::'].map(parseAddress) };

  test('lead from the addresses of this node to its pod, or from the one that is named', () => {
    const lb = new LoadBalancer(node);
    const shown = (hostAddress: string | undefined): string[] => {
      const named = { ...lead, hostAddress: hostAddress === undefined ? undefined : parseAddress(hostAddress) };
      lb.setPod('default', 'web', { addresses, hostPorts: [named] });
      lb.changes();
      return dump(lb).filter((line) => line.startsWith('HostPort'));
    };
    const [four, six] = [
      'default/web/host-port/80 -> [10.0.0.1:8080/TCP]',
      'default/web/host-port/80 -> [[fd00::1]:8080/TCP]',
    ];
    const all = [`HostPort 127.0.0.1:80/TCP ${four}`, `HostPort 192.0.2.1:80/TCP ${four}`];
    assert.deepEqual(shown(undefined), [...all, `HostPort [2001:db8::1]:80/TCP ${six}`]);
    assert.deepEqual(shown('0.0.0.0'), all);
    assert.deepEqual(shown('192.0.2.9'), [`HostPort 192.0.2.9:80/TCP ${four}`]);
    lb.setPod('default', 'web', undefined);
    lb.changes();
    assert.deepEqual(dump(lb), []);
  });

  test('follow the addresses of the node, and come after services', () => {
    const lb = new LoadBalancer({ ...node, addresses: [] });
    lb.setPod('default', 'web', { addresses, hostPorts: [{ ...lead, hostPort: port(30_080) }] });
    const ports = [{ ...web, nodePort: port(30_080) }];
    lb.setService('default', 'web', service({ type: 'NodePort', ports, clusterAddresses: [] }));
    lb.setNode({ ...node, addresses: [parseAddress('192.0.2.1')] });
    lb.changes();
    assert.deepEqual(
      lb.frontends.map(({ kind }) => kind),
      ['NodePort'],
    );
    lb.setService('default', 'web', undefined);
    lb.changes();
    assert.deepEqual(
      lb.frontends.map(({ kind }) => kind),
      ['HostPort'],
    );
  });
});
