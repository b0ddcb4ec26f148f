/** The health endpoint of an agent on a kernel in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressesOf, Ipam } from '../ipam/ipam.ts';
import type { Address } from '../model/address.ts';
import { formatAddress, parseCidr } from '../model/address.ts';
import type { HealthParts } from './cluster-health.ts';
import { AgentBench, until } from './testing.ts';

const FLAGS = ['--enable-health-checking', 'true', '--health-check-interval', '20ms'];

/** Namespaces that only remember; probes are answered by everybody but `silent`. */
class FakeNetwork implements HealthParts {
  readonly silent = new Set<string>();
  readonly answering = new Set<string>();
  open = 0;
  broken = false;
  readonly probes = {
    icmp: (address: Address): Promise<number> => this.#ask(address),
    http: (address: Address): Promise<number> => this.#ask(address),
  };
  respondOnNode = (): Promise<Disposable> => Promise.resolve({ [Symbol.dispose]: () => undefined });

  openNamespace() {
    this.open++;
    return {
      path: '/proc/1/fd/9',
      respond: (addresses: readonly Address[]): Promise<void> => {
        if (this.broken) return Promise.reject(new Error('no sockets left'));
        for (const address of addresses) this.answering.add(formatAddress(address));
        return Promise.resolve();
      },
      [Symbol.dispose]: () => {
        this.open--;
      },
    };
  }

  #ask(address: Address): Promise<number> {
    return this.silent.has(formatAddress(address)) ? Promise.reject(new Error('no answer')) : Promise.resolve(1000);
  }
}

const healthOf = async (bench: AgentBench) =>
  (await bench.api.endpoints()).filter(({ status }) => status?.identity?.id === 4);

const isAnnounced = async (bench: AgentBench): Promise<boolean> =>
  (await bench.api.connectivity()).nodes?.[0]?.['health-endpoint'] !== undefined;

const NODE = `apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n2}
spec:
  addresses: [{type: InternalIP, ip: 192.0.2.2}]
  health: {ipv4: 10.0.2.9}
`;

test('an endpoint with identity 4 that nobody may touch, with the same addresses in every run', async () => {
  await using bench = new AgentBench();
  const healthParts = new FakeNetwork();
  await bench.start({ healthParts }, ...FLAGS);
  await until('the health endpoint', () => isAnnounced(bench));
  const [endpoint, ...others] = await healthOf(bench);
  assert.equal(others.length, 0);
  assert.deepEqual(endpoint!.status!.identity!.labels, ['reserved:health']);
  assert.deepEqual(endpoint!.status!['external-identifiers'], {}, 'a runtime collects nothing that it cannot name');
  const addressing = endpoint!.status!.networking!.addressing![0]!;
  assert.deepEqual([...healthParts.answering].toSorted(), [addressing.ipv4, addressing.ipv6].toSorted());
  assert.equal(bench.kernel.identityAt(`${addressing.ipv4}/32`), 4);
  const id = String(endpoint!.id);
  await assert.rejects(bench.api.deleteEndpoint(id), { code: 'ENDPOINT_INVALID' });
  await assert.rejects(bench.api.patchEndpointLabels(id, { user: ['a=b'] }), { code: 'ENDPOINT_INVALID' });
  await bench.stop();
  assert.equal(healthParts.open, 0);
  const ipam = new Ipam({ ipv4: parseCidr('10.0.0.0/24'), ipv6: parseCidr('fd00::/64') });
  // The next address would be another one.
  for (const address of addressesOf(ipam.allocateNext('somebody'))) ipam.release(address);
  await bench.start({ healthParts, ipam }, ...FLAGS);
  await until('the health endpoint', () => isAnnounced(bench));
  assert.deepEqual((await healthOf(bench))[0]!.status!.networking!.addressing![0], addressing);
});

test('one that cannot be made is told, gives its addresses back, and is tried again', async () => {
  await using bench = new AgentBench();
  const healthParts = new FakeNetwork();
  healthParts.broken = true;
  await bench.start({ healthParts }, ...FLAGS);
  await until(
    'the fault in the state',
    async () => (await bench.api.health()).cluster?.ciliumHealth?.state === 'Failure',
  );
  assert.match((await bench.api.health()).cluster!.ciliumHealth!.msg!, /no sockets left/);
  assert.deepEqual(await healthOf(bench), []);
  assert.equal((await bench.api.health()).ipam?.ipv4?.length, 3, 'network, router, broadcast');
  healthParts.broken = false;
  await until('another attempt', async () => (await healthOf(bench)).length === 1);
  await until('the state', async () => (await bench.api.health()).cluster?.ciliumHealth?.state === 'Ok');
});

test('nodes that do not answer are named', async () => {
  await using bench = new AgentBench();
  const healthParts = new FakeNetwork();
  bench.manifest('node.yaml', NODE);
  await bench.start({ healthParts }, ...FLAGS);
  await until('both to answer', async () =>
    /^2\/2 reachable$/.test((await bench.api.health()).cluster?.ciliumHealth?.msg ?? ''),
  );
  healthParts.silent.add('10.0.2.9');
  const { nodes = [] } = await bench.api.probeConnectivity();
  const path = nodes.find(({ name }) => name === 'default/n2')?.['health-endpoint']?.['primary-address'];
  assert.deepEqual([path?.ip, path?.icmp?.status, path?.http?.status], ['10.0.2.9', 'no answer', 'no answer']);
  assert.equal((await bench.api.health()).cluster?.ciliumHealth?.msg, '1/2 reachable, unreachable: n2 (endpoint)');
});

test('without health checking there is no endpoint, and who asks is told', async () => {
  await using bench = new AgentBench();
  await bench.start({ healthParts: new FakeNetwork() });
  assert.equal((await bench.api.health()).cluster?.ciliumHealth?.state, 'Disabled');
  await assert.rejects(bench.api.connectivity(), { code: 'HEALTH_DISABLED' });
});
