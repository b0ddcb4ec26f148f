/** The whole agent on a kernel in memory: wiring, order and what is told to whom. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { ApiClient } from '../api/client.ts';
import { readInvocation } from '../config/config.ts';
import { Ipam } from '../ipam/ipam.ts';
import { ManifestSource } from '../k8s/manifest-source.ts';
import { formatAddress, formatCidr, parseAddress } from '../model/address.ts';
import type { EndpointId } from '../model/endpoint.ts';
import { systemClock } from '../model/clock.ts';
import { errorText } from '../model/errors.ts';
import { identityId } from '../model/identity.ts';
import { startAgent } from './agent.ts';
import { CloudGroupFile } from './cloud-group-file.ts';
import { FakeKernel, POD, until } from './testing.ts';

const POLICY = (peer: string) => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [${peer}]
`;

const DENIED = { type: 'drop', reason: 133, reasonText: 'Policy denied' } as const;

/** What the kernel says of a packet for `endpoint`. */
const packet = (endpoint: number, time: number) => ({
  ...{ time, endpoint, direction: 'ingress' as const, connection: 'new' as const },
  source: { address: parseAddress('198.51.100.7'), port: 1234, identity: identityId(9) },
  destination: { address: parseAddress('10.0.0.2'), port: 80, identity: identityId(256) },
  ...{ etherType: 0x800, protocol: 6, tcpFlags: 2, icmp: { type: 0, code: 0 }, ifindex: 3, length: 60, cookie: 0 },
});

describe('the agent', () => {
  let dir: string;
  let kernel: FakeKernel;
  let api: ApiClient;
  let running: AsyncDisposable | undefined;
  const logged: string[] = [];

  const manifest = (file: string, text: string): void => {
    writeFileSync(join(dir, 'draft'), text);
    renameSync(join(dir, 'draft'), join(dir, 'manifests', file));
  };
  const start = async (...flags: string[]): Promise<void> => {
    const invocation = readInvocation(
      [
        ...[
          '--socket',
          join(dir, 'weir.sock'),
          '--state-dir',
          join(dir, 'state'),
          '--manifests',
          join(dir, 'manifests'),
        ],
        ...['--pod-cidr', '10.0.0.0/24', '--pod-cidr', 'fd00::/64', '--node-name', 'n1', ...flags],
      ],
      {},
    );
    assert.ok(invocation.kind === 'run');
    const { config } = invocation;
    running = await startAgent({
      ...{ config, version: '1.2.3', clock: systemClock, kernel },
      logger: pino({ level: 'info' }, { write: (line: string) => void logged.push(line) }),
      ipam: new Ipam(config.podCidrs),
      source: new ManifestSource({ directory: config.manifests!, quietMs: 5 }),
      ...(config.cloudGroups !== undefined && {
        cloudGroups: new CloudGroupFile(config.cloudGroups, {
          onError: (e) => logged.push(errorText(e)),
          intervalMs: 10,
        }),
      }),
    });
  };
  const stop = async (): Promise<void> => {
    await running?.[Symbol.asyncDispose]();
    running = undefined;
  };
  const add = (name: string) =>
    api.putEndpoint(`cni-attachment-id:c-${name}:eth0`, {
      'container-id': `c-${name}`,
      'container-interface-name': 'eth0',
      'network-namespace-path': `/run/netns/${name}`,
      'k8s-namespace': 'default',
      'k8s-pod-name': name,
    });
  const ingress = async (): Promise<readonly number[] | undefined> => {
    const endpoint = await api.endpoint('pod-name:default/web');
    return endpoint.status?.policy?.realized?.['allowed-ingress-identities'];
  };

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'weir-agent-'));
    mkdirSync(join(dir, 'manifests'));
    kernel = new FakeKernel();
    api = new ApiClient(join(dir, 'weir.sock'));
    logged.length = 0;
    manifest('pods.yaml', [POD('web'), POD('db')].join('---\n'));
  });
  afterEach(async () => {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('adds, shows and deletes endpoints', async () => {
    await start();
    const web = await add('web');
    assert.equal(web.status?.state, 'ready');
    assert.equal(web.status.identity?.id, 256);
    assert.deepEqual(web.status.networking?.addressing, [{ ipv4: '10.0.0.2', ipv6: 'fd00::2' }]);
    assert.equal(web.status.networking['host-addressing']?.ipv4?.ip, '10.0.0.1');
    assert.equal(kernel.identityAt('10.0.0.2/32'), 256);
    assert.equal(kernel.identityAt('10.0.0.1/32'), 1);
    assert.equal(kernel.identityAt('0.0.0.0/0'), 9);
    assert.deepEqual(
      (await api.endpoints(['app=web'])).map(({ id }) => id),
      [web.id],
    );
    assert.deepEqual(await api.endpoints(['app=db']), []);
    const health = await api.endpointHealth(String(web.id));
    assert.deepEqual(health, { overallHealth: 'OK', bpf: 'OK', policy: 'OK', connected: true });
    const log = await api.endpointLog('container-id:c-web');
    assert.deepEqual([log[0]?.state, log[0]?.code], ['ready', 'ok']);
    await api.patchEndpointLabels(String(web.id), { user: ['extra=1'] });
    assert.deepEqual((await api.endpointLabels(String(web.id))).spec?.user, ['k8s:extra=1']);
    await api.patchEndpointConfig(String(web.id), { options: { PolicyAuditMode: 'Enabled' } });
    assert.equal((await api.endpoint(String(web.id))).status?.realized?.options?.['PolicyAuditMode'], 'Enabled');
    await assert.rejects(api.patchEndpointConfig(String(web.id), { options: { Nonsense: '1' } }), {
      code: 'REQUEST_INVALID',
      field: 'body.options.Nonsense',
    });
    await assert.rejects(api.patchEndpointLabels(String(web.id), { user: ['reserved:host'] }), {
      code: 'ENDPOINT_INVALID',
    });
    await api.deleteContainer('c-web');
    await assert.rejects(api.endpoint(String(web.id)), { code: 'ENDPOINT_NOT_FOUND' });
    assert.equal(kernel.identityAt('10.0.0.2/32'), undefined);
  });

  test('host ports of a pod are services while it has an endpoint here, also for the next agent', async () => {
    const ports = '{ containerPort: 8080, hostPort: 30080, hostIP: 127.0.0.1 }, { containerPort: 53, protocol: UDP }';
    const withPorts = POD('web').replace('image: i', `image: i, ports: [${ports}]`);
    assert.match(withPorts, /hostPort/);
    const listed = async (): Promise<string[]> =>
      (await api.services()).map(({ spec }) => {
        const { ip, port } = spec!['frontend-address']!;
        const backends = spec!['backend-addresses']!.map((backend) => `${backend.ip}:${backend.port}`);
        return `${spec!.flags!.type} ${spec!.flags!.name} ${ip}:${port} -> ${backends.join()}`;
      });
    const expected = ['HostPort web/host-port/30080 127.0.0.1:30080 -> 10.0.0.2:8080'];
    manifest('pods.yaml', withPorts);
    await start();
    assert.deepEqual(await listed(), []);
    await add('web');
    await until('the service', async () => (await listed()).length > 0);
    assert.deepEqual(await listed(), expected);
    await stop();
    kernel.serviceChanges.length = 0;
    await start();
    assert.deepEqual(
      kernel.serviceChanges[0]?.frontends.update.map(({ kind }) => kind),
      ['HostPort'],
      'never without',
    );
    assert.deepEqual(await listed(), expected);
    manifest('pods.yaml', POD('web'));
    await until('its end', async () => (await listed()).length === 0);
    manifest('pods.yaml', withPorts);
    await until('the service', async () => (await listed()).length > 0);
    await api.deleteContainer('c-web');
    await until('its end', async () => (await listed()).length === 0);
  });

  test('refuses endpoints that make no sense, by field', async () => {
    await start();
    const put = (id: string, more: object) => api.putEndpoint(id, { 'container-id': 'c', ...more });
    const netns = { 'network-namespace-path': '/run/netns/x' };
    await assert.rejects(put('cni-attachment-id:c:eth0', {}), {
      code: 'ENDPOINT_INVALID',
      field: 'body.network-namespace-path',
    });
    await assert.rejects(put('cni-attachment-id:other:eth0', netns), { code: 'ENDPOINT_INVALID', field: 'id' });
    await assert.rejects(put('7', { ...netns, 'container-interface-name': 'eth0' }), {
      code: 'ENDPOINT_INVALID',
      field: 'id',
    });
    await assert.rejects(put('cni-attachment-id:c:eth0', { ...netns, labels: ['reserved:host'] }), {
      code: 'ENDPOINT_INVALID',
    });
    await assert.rejects(put('cni-attachment-id:c:eth0', { ...netns, addressing: { ipv4: 'fd00::9' } }), {
      code: 'ADDRESS_INVALID',
      field: 'body.addressing.ipv4',
    });
  });

  test('policies follow their manifests; a bad one leaves the good one in force and is told', async () => {
    await start();
    await add('web');
    const db = await add('db');
    assert.deepEqual(await ingress(), [0]);
    manifest('policy.yaml', POLICY('{fromEndpoints: [{matchLabels: {app: db}}]}'));
    await until('the policy', async () => (await ingress())?.includes(db.status!.identity!.id!) === true);
    manifest('policy.yaml', POLICY('{fromEndpoints: [{matchLabel: {app: db}}]}'));
    await until('the fault', () => logged.some((line) => /policy\.yaml:\d+:\d+.*matchLabel/.test(line)));
    assert.ok((await ingress())?.includes(db.status!.identity!.id!));
    const status = await api.health();
    assert.match(status.kubernetes?.msg ?? '', /rejected: CiliumNetworkPolicy default\/web/);
    assert.equal(status.cilium?.state, 'Ok');
    assert.equal((await api.policy()).revision, 1);
    await stop();
    await start();
    assert.match((await api.health()).kubernetes?.msg ?? '', /rejected: CiliumNetworkPolicy default\/web/);
    assert.ok((await ingress())?.includes(db.status!.identity!.id!), 'also under an agent that started anew');
    rmSync(join(dir, 'manifests', 'policy.yaml'));
    await until('no policy', async () => (await ingress())?.includes(0) === true);
    assert.doesNotMatch((await api.health()).kubernetes?.msg ?? '', /rejected/);
  });

  test('prefixes that policies name get identities, and lose them again', async () => {
    await start();
    await add('web');
    manifest('policy.yaml', POLICY('{fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]}'));
    await until('the prefixes', () => kernel.identityAt('203.0.113.128/25') !== undefined);
    const outer = kernel.identityAt('203.0.113.0/24')!;
    const inner = kernel.identityAt('203.0.113.128/25')!;
    await until('the policy', async () => (await ingress())?.includes(outer) === true);
    assert.ok(!(await ingress())?.includes(inner));
    const labels = (await api.identity(outer)).labels;
    assert.deepEqual(labels, ['cidr:203.0.113.0/24', 'reserved:world-ipv4']);
    const [entry] = await api.ips('203.0.113.0/25');
    assert.equal(entry, undefined);
    assert.equal((await api.ips('203.0.113.0/24')).length, 2);
    manifest('policy.yaml', POLICY('{}'));
    await until('no prefixes', () => kernel.identityAt('203.0.113.0/24') === undefined);
  });

  test('no prefix gets an identity in the kernel before the policies that select it know that identity', async () => {
    await start();
    await add('web');
    manifest('policy.yaml', POLICY('{fromEntities: [world]}'));
    await until('the policy', async () => (await ingress())?.includes(0) === false);
    const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
    kernel.endpoints.held.set('updatePolicy', released);
    manifest('other.yaml', POLICY('{fromCIDR: [203.0.113.0/24]}').replaceAll('web', 'db'));
    const remembered = join(dir, 'state', 'local-identities.json');
    await until(
      'the identity',
      () => existsSync(remembered) && /203\.0\.113\.0/.test(readFileSync(remembered, 'utf8')),
    );
    for (let turn = 0; turn < 500; turn++) await new Promise((resolve) => setImmediate(resolve));
    const early = kernel.identityAt('203.0.113.0/24');
    kernel.endpoints.held.clear();
    release(undefined);
    assert.equal(early, undefined);
    await until('the prefix', () => kernel.identityAt('203.0.113.0/24') !== undefined);
  });

  test('comes back, does the deletes that were left, and forgets what the kernel should not hold', async () => {
    await start();
    const web = await add('web');
    await add('db');
    await stop();
    kernel.ipcacheMap.set('192.0.2.0/24', {
      prefix: { address: parseAddress('192.0.2.0'), length: 24 },
      identity: identityId(7),
    });
    mkdirSync(join(dir, 'deleteQueue'));
    writeFileSync(
      join(dir, 'deleteQueue', 'a.json'),
      JSON.stringify({ 'container-id': 'c-db', 'container-interface-name': 'eth0' }),
    );
    writeFileSync(join(dir, 'deleteQueue', 'b.json'), 'nonsense');
    await start();
    assert.deepEqual(
      (await api.endpoints()).map(({ id, status }) => [id, status?.state, status?.identity?.id]),
      [[web.id, 'ready', web.status?.identity?.id]],
    );
    assert.deepEqual(readdirSync(join(dir, 'deleteQueue')), []);
    assert.ok(logged.some((line) => line.includes('b.json')));
    assert.equal(kernel.identityAt('192.0.2.0/24'), undefined);
    assert.equal(kernel.identityAt('10.0.0.2/32'), 256);
  });

  test('learns the cluster from what others announce: nodes, endpoints, numbers of identities', async () => {
    await start('--routing-mode', 'tunnel');
    const web = await add('web');
    assert.equal(web.status?.identity?.id, 256);
    manifest('policy.yaml', POLICY('{fromEndpoints: [{matchLabels: {app: far}}]}'));
    const labels = (app: string): string =>
      `{"k8s:app": ${app}, "k8s:io.kubernetes.pod.namespace": default, "k8s:io.cilium.k8s.policy.cluster": default,
        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": default,
        "k8s:io.cilium.k8s.policy.serviceaccount": default}`;
    const object = (kind: string, name: string, rest: string): string =>
      `---\napiVersion: cilium.io/v2\nkind: ${kind}\nmetadata: {name: "${name}"}\n${rest}\n`;
    manifest(
      'cluster.yaml',
      object('CiliumIdentity', '4000', `security-labels: ${labels('web')}`) +
        object('CiliumIdentity', '4001', `security-labels: ${labels('far')}`) +
        object(
          'CiliumNode',
          'n2',
          'spec: {addresses: [{type: InternalIP, ip: 198.51.100.2}], ipam: {podCIDRs: [10.0.2.0/24]}}',
        ) +
        object(
          'CiliumEndpoint',
          'far',
          'status: {identity: {id: 4001}, networking: {addressing: [{ipv4: 10.0.2.9}], node: 198.51.100.2}}',
        ),
    );
    await until('the remote pod', () => kernel.identityAt('10.0.2.9/32') === 4001);
    assert.equal(formatAddress(kernel.ipcacheMap.get('10.0.2.9/32')!.tunnelEndpoint!), '198.51.100.2');
    assert.equal(kernel.identityAt('198.51.100.2/32'), 6);
    await until('the node', () => kernel.remoteNodes.length === 1);
    assert.deepEqual(kernel.remoteNodes[0]!.podCidrs.map(formatCidr), ['10.0.2.0/24']);
    await until('the number of the cluster', () => kernel.identityAt('10.0.0.2/32') === 4000);
    assert.equal((await api.endpoint(String(web.id))).status?.identity?.id, 4000);
    await until('the policy', async () => (await ingress())?.includes(4001) === true);
    manifest('cluster.yaml', '# all gone');
    rmSync(join(dir, 'manifests', 'cluster.yaml'));
    await until('the end', () => kernel.identityAt('10.0.2.9/32') === undefined && kernel.remoteNodes.length === 0);
    assert.equal(kernel.identityAt('10.0.0.2/32'), 4000, 'a pod keeps its number as long as it lives');
  });

  test('gives out addresses, and takes back what is not an endpoint’s', async () => {
    await start();
    const { address } = await api.allocateAddresses('somebody', 'ipv4');
    assert.deepEqual(address, { ipv4: '10.0.0.2' });
    await api.releaseAddress('10.0.0.2');
    await assert.rejects(api.releaseAddress('10.0.0.2'), { code: 'ADDRESS_NOT_FOUND' });
    await add('web');
    await assert.rejects(api.releaseAddress('10.0.0.3'), { code: 'IPAM_IN_USE' });
  });

  test('tells of itself: status, configuration, maps, metrics, debug information', async () => {
    await start('--metrics-listen', '127.0.0.1:0');
    const status = await api.health();
    assert.deepEqual([status.cilium?.state, status.version, status.nodeMonitor?.lost], ['Ok', '1.2.3', 3]);
    assert.match(status.ipam?.status ?? '', /IPv4: 0\/253 allocated from 10\.0\.0\.0\/24/);
    assert.deepEqual([status['host-routing']?.mode, status['host-firewall']?.mode], ['BPF', 'Disabled']);
    const brief = await api.health(true);
    assert.deepEqual(
      [brief.cilium, brief.kubernetes, brief.cluster?.nodes],
      [status.cilium, status.kubernetes, undefined],
    );
    const config = await api.config();
    assert.equal(config.spec?.['policy-enforcement'], 'default');
    await api.patchConfig({ 'policy-enforcement': 'default' });
    await assert.rejects(api.patchConfig({ 'policy-enforcement': 'never' }), { field: 'body.policy-enforcement' });
    assert.equal((await api.maps()).maps?.[0]?.path, '/x/weir_metrics');
    const debug = await api.debugInfo();
    assert.equal(debug['cilium-version'], '1.2.3');
    assert.ok((await api.selectors()).length >= 0);
    assert.equal((await api.identity(1)).labels?.[0], 'reserved:host');
  });

  test('groups of a cloud follow their file; a bad version of it changes nothing', async () => {
    const file = join(dir, 'groups.yaml');
    const write = (text: string): void => {
      writeFileSync(`${file}.draft`, text);
      renameSync(`${file}.draft`, file);
    };
    const entry = (id: string, cidr: string) => `- {aws: {securityGroupsIds: [${id}]}, cidrs: [${cidr}]}\n`;
    write(`groups:\n${entry('sg-1', '203.0.113.0/24')}${entry('sg-2', '198.51.100.0/24')}`);
    await start('--cloud-groups', file);
    await add('web');
    manifest('policy.yaml', POLICY('{fromGroups: [{aws: {securityGroupsIds: [sg-1]}}]}'));
    const allowed = async (cidr: string): Promise<boolean> => {
      const identity = kernel.identityAt(cidr);
      return identity !== undefined && (await ingress())?.includes(identity) === true;
    };
    await until('the group', () => allowed('203.0.113.0/24'));
    assert.equal(kernel.identityAt('198.51.100.0/24'), undefined);
    write(`groups:\n${entry('sg-1', '192.0.2.0/25')}`);
    await until('the new prefix', () => allowed('192.0.2.0/25'));
    await until('the old one to go', () => kernel.identityAt('203.0.113.0/24') === undefined);
    write('groups: [{aws: {securityGroupIds: [sg-1]}, cidrs: []}]');
    await until('the fault', () => logged.some((line) => /groups\[0\]\.aws\.securityGroupIds/.test(line)));
    assert.ok(await allowed('192.0.2.0/25'));
  });

  test('says of a policy what is not enforced, once, and goes on saying it in its status', async () => {
    await start();
    await add('web');
    const host = `apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec: {nodeSelector: {}, ingress: [{fromEntities: [cluster]}]}
`;
    const rest = POLICY(
      '{fromEntities: [world], authentication: {mode: required}}, {toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}',
    );
    manifest('host.yaml', host);
    manifest(
      'rest.yaml',
      `${rest}  egress: [{toFQDNs: [{matchName: a.example.com}]}, {toGroups: [{aws: {region: r}}]}]\n`,
    );
    await until('both', async () => Object.keys((await api.health())['policy-gaps'] ?? {}).length === 2);
    const gaps = (await api.health())['policy-gaps']!;
    assert.match(
      gaps['CiliumClusterwideNetworkPolicy nodes']!.join(),
      /^nodeSelector: traffic of the node itself passes unjudged/,
    );
    const words = gaps['CiliumNetworkPolicy default/web']!.map((gap) => gap.split(':')[0]);
    assert.deepEqual(words, ['layer 7 rules', 'groups of a cloud', 'authentication']);
    assert.match((await api.policy()).policy ?? '', /"name": "CiliumClusterwideNetworkPolicy nodes"/);
    const warnings = (): number => logged.filter((line) => /not enforced in full/.test(line)).length;
    assert.equal(warnings(), 4);
    // What needs a proxy or authentication fails closed: only the node gets in by an entry that needs neither, and the
    // endpoint gets out to the addresses of its name alone.
    const opened = 'egress/16777217/0/0/0 egress/16777218/0/0/0 ingress/1/0/0/0';
    const open = (): string[] =>
      [...kernel.endpoints.installed.values().next().value!.policy]
        .filter(([, entry]) => !entry.deny && entry.authType === 0)
        .map(([key]) => key);
    await until('both in force', () => open().sort().join(' ') === opened);
    manifest('host.yaml', `${host}# touched\n`);
    manifest('rest.yaml', POLICY('{}'));
    await until('one', async () => Object.keys((await api.health())['policy-gaps'] ?? {}).length === 1);
    assert.equal(warnings(), 4);
  });

  test('counts policies and regenerations, and how long they took', async () => {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await start('--metrics-listen', `127.0.0.1:${port}`);
    await add('web');
    manifest('policy.yaml', POLICY('{fromEntities: [all]}'));
    const sample = async (name: string): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
      return Number(line?.split(' ').at(-1));
    };
    await until('a policy', async () => (await sample('cilium_policy_implementation_delay_count{source="k8s"}')) === 1);
    assert.equal(await sample('cilium_policy'), 1);
    assert.equal(await sample('cilium_policy_change_total{outcome="success"}'), 1);
    assert.equal(await sample('cilium_services_events_total{action="add"}'), 0);
    manifest('policy.yaml', POLICY('{fromNobody: []}'));
    await until('the fault', async () => (await sample('cilium_policy_change_total{outcome="fail"}')) === 1);
    assert.ok((await sample('cilium_endpoint_regenerations_total{outcome="success"}')) >= 1);
    assert.equal(await sample('cilium_endpoint_regenerations_total{outcome="fail"}'), 0);
    const took = 'cilium_endpoint_regeneration_time_stats_seconds_count{scope="total",status="success"}';
    assert.ok((await sample(took)) >= 1);
    assert.equal(await sample('weir_events_left_out_total{type="trace",cause="limited"}'), 12);
    assert.equal(await sample('weir_events_left_out_total{type="drop",cause="lost"}'), 3);
    const { lost, limited } = (await api.health()).nodeMonitor!;
    assert.deepEqual([lost, limited], [3, { trace: 12 }]);
  });

  test('tells of policy maps that are full, or nearly', async () => {
    await start();
    const { id } = await add('web');
    assert.equal((await api.health())['policy-maps'], undefined);
    kernel.policyMapMax = 1;
    kernel.locked = [id as EndpointId];
    const use = { entries: 2, 'max-entries': 1, lockdown: true };
    assert.deepEqual((await api.health())['policy-maps'], { [id]: use });
    assert.equal((await api.health()).cilium?.state, 'Warning');
    const endpoint = await api.endpoint(String(id));
    assert.deepEqual(endpoint.status?.['policy-map'], use);
    assert.equal(endpoint.status.health?.policy, 'Failure');
  });

  test('names the numbers in events, and the policies of the time when they happened', async () => {
    await start();
    manifest('policy.yaml', POLICY('{fromEntities: [health]}'));
    const { id } = await add('web');
    const enabled = async (): Promise<string | undefined> =>
      (await api.endpoint(String(id))).status?.policy?.realized?.['policy-enabled'];
    await until('a policy', async () => (await enabled()) === 'ingress');
    const heard = api.monitor(undefined, { types: ['drop'] })[Symbol.asyncIterator]();
    const publish = (time: number, type: 'drop' | 'trace' = 'drop'): void =>
      kernel.publish({ ...packet(id, time), ...(type === 'drop' ? DENIED : { type, point: 'to-stack' }) });
    const first = heard.next();
    await until('a listener', () => kernel.broadcast.size === 1);
    // A trace, and what is lost, is not what was asked for; but a loss is told with what comes next.
    publish(0, 'trace');
    kernel.broadcast.miss({ count: 2, cause: 'lost', kind: 'drop' });
    kernel.broadcast.miss({ count: 4, cause: 'limited', kind: 'trace' });
    kernel.broadcast.miss({ count: 5, cause: 'limited', kind: 'drop' });
    publish(0);
    const { value } = await first;
    assert.ok(value);
    assert.deepEqual(
      [value.protocol, value.tcpFlags, value.reason, value.policies, value.lost, value.limited],
      ['TCP', ['SYN'], 'Policy denied', ['CiliumNetworkPolicy default/web'], 2, 5],
    );
    assert.equal(value.destination.pod, 'default/web');
    assert.deepEqual(value.source.labels, ['reserved:world-ipv4']);
    // What the pod answers on a connection that is cut is the doing of the policy for those who asked.
    kernel.publish({ ...packet(id, 0), ...DENIED, direction: 'egress', connection: 'reply' });
    assert.deepEqual((await heard.next()).value?.policies, ['CiliumNetworkPolicy default/web']);
    manifest('policy.yaml', POLICY('{fromEntities: [health]}').replace('name: web', 'name: other'));
    await until('the other', async () => /other/.test((await api.policy()).policy ?? ''));
    await until('none of it', async () => (await enabled()) === 'ingress');
    const named = async (time: number): Promise<readonly string[] | undefined> => {
      publish(time);
      const { value: event } = await heard.next();
      return event?.policies;
    };
    await until('the other', async () => (await named(Date.now() + 1))?.join() === 'CiliumNetworkPolicy default/other');
    assert.deepEqual(await named(0), ['CiliumNetworkPolicy default/web']);
    rmSync(join(dir, 'manifests', 'policy.yaml'));
    await until('no policy', async () => (await enabled()) === 'none');
    assert.deepEqual(await named(Date.now() + 1), ['CiliumNetworkPolicy default/other'], 'it was in force last');
    await api.deleteEndpoint(String(id));
    assert.deepEqual(await named(0), ['CiliumNetworkPolicy default/other'], 'also when the endpoint is gone');
    await heard.return(undefined);
  });

  test('says of what the agent before it decided that it cannot tell whose policy that was', async () => {
    await start();
    manifest('policy.yaml', POLICY('{fromEntities: [health]}'));
    const { id } = await add('web');
    await stop();
    const before = Date.now() - 1;
    await start();
    const heard = api.monitor()[Symbol.asyncIterator]();
    const first = heard.next();
    await until('a listener', () => kernel.broadcast.size === 1);
    kernel.publish({ ...packet(id, before), ...DENIED });
    kernel.publish({ ...packet(id, before), ...DENIED, cookie: 1 });
    kernel.publish({ ...packet(id, Date.now() + 1), ...DENIED });
    kernel.publish({ ...packet(999, before), ...DENIED });
    const named = [(await first).value, ...(await Promise.all([1, 2, 3].map(async () => (await heard.next()).value)))];
    assert.deepEqual(
      named.map((event) => event?.policies),
      [['policy-before-restart'], ['policy-before-restart'], ['CiliumNetworkPolicy default/web'], ['endpoint-gone']],
    );
    await heard.return(undefined);
  });

  test('says who denies when no policy does', async () => {
    await start('--policy-enforcement', 'always');
    const { id } = await add('web');
    const heard = api.monitor()[Symbol.asyncIterator]();
    const first = heard.next();
    await until('a listener', () => kernel.broadcast.size === 1);
    kernel.publish({ ...packet(id, 0), ...DENIED });
    assert.deepEqual((await first).value?.policies, ['policy-enforcement=always']);
    await heard.return(undefined);
  });
});
