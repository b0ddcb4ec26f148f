import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Ipcache } from '../ipcache/ipcache.ts';
import { addressEquals, formatAddress, formatCidr, parseAddress, parseCidr } from '../model/address.ts';
import type { RemoteNode } from '../model/datapath.ts';
import { identityId } from '../model/identity.ts';
import { ManualClock } from '../model/manual-clock.ts';
import { nodeAddress, type ClusterNode } from '../model/node.ts';
import { ApiServers } from './api-servers.ts';
import { NodeTable, type NodeChange } from './node-table.ts';
import { RemoteEndpoints, type AnnouncedEndpoint } from './remote-endpoints.ts';
import { RemoteNodes } from './remote-nodes.ts';

function node(
  name: string,
  internal: readonly string[],
  podCidr: string,
  more: Partial<ClusterNode> = {},
): ClusterNode {
  return {
    name,
    addresses: internal.map((text) => ({ type: 'InternalIP', address: parseAddress(text) })),
    podCidrs: [parseCidr(podCidr)],
    health: [],
    ingress: [],
    ...more,
  };
}

const SELF = node('n1', ['192.0.2.1'], '10.1.0.0/24');
const OTHER = node('n2', ['192.0.2.2', '2001:db8::2'], '10.2.0.0/24');

/** What the ipcache says of an address: identity, and the node to tunnel to. */
function answer(ipcache: Ipcache, text: string): string | undefined {
  const record = ipcache.lookup(parseAddress(text));
  return record && `${record.identity}${record.tunnelEndpoint ? ` via ${formatAddress(record.tunnelEndpoint)}` : ''}`;
}

describe('the table of nodes', () => {
  test('of each node, what the best origin says, and every change of that', () => {
    const table = new NodeTable('n1');
    const seen: NodeChange[][] = [];
    table.set('kubernetes', 'n2', OTHER);
    table.subscribe((changes) => seen.push([...changes]));
    assert.deepEqual(seen, [[{ name: 'n2', after: OTHER }]]);
    const announced = { ...OTHER, podCidrs: [parseCidr('10.3.0.0/24')] };
    table.set('custom-resource', 'n2', announced);
    table.set('kubernetes', 'n2', { ...OTHER, podCidrs: [] });
    assert.deepEqual(seen.slice(1), [[{ name: 'n2', before: OTHER, after: announced }]]);
    table.set('custom-resource', 'n2', undefined);
    assert.deepEqual(table.get('n2')?.podCidrs, []);
    table.set('kubernetes', 'n2', undefined);
    assert.deepEqual([table.nodes(), seen.length], [[], 4]);
  });

  test('a node is reached at its internal address, else at its external one', () => {
    const external = { type: 'ExternalIP' as const, address: parseAddress('203.0.113.1') };
    const both = { ...OTHER, addresses: [external, ...OTHER.addresses] };
    assert.equal(formatAddress(nodeAddress(both, 4)!), '192.0.2.2');
    assert.equal(formatAddress(nodeAddress({ ...OTHER, addresses: [external] }, 4)!), '203.0.113.1');
    assert.equal(nodeAddress(SELF, 6), undefined);
  });
});

describe('other nodes', () => {
  function start(tunnelFamily: 4 | 6 | undefined) {
    const nodes = new NodeTable('n1');
    const ipcache = new Ipcache();
    const clock = new ManualClock();
    const kernel: { nodes: readonly RemoteNode[]; fails: boolean } = { nodes: [], fails: false };
    const errors: string[] = [];
    const remote = new RemoteNodes({
      ...{ nodes, ipcache, tunnelFamily, clock },
      target: {
        set: (all) => {
          if (kernel.fails) return Promise.reject(new Error('refused'));
          kernel.nodes = all;
          return Promise.resolve();
        },
      },
      onError: (_message, error) => errors.push(String(error)),
    });
    return { nodes, ipcache, clock, kernel, errors, remote };
  }

  test('are remote nodes at every address, and their routers lie behind the tunnel', async () => {
    const { nodes, ipcache, kernel, remote } = start(4);
    nodes.set('custom-resource', 'n1', SELF);
    const router = { type: 'CiliumInternalIP' as const, address: parseAddress('10.2.0.1') };
    nodes.set('custom-resource', 'n2', {
      ...OTHER,
      addresses: [...OTHER.addresses, router],
      health: [parseAddress('10.2.0.2')],
      ingress: [parseAddress('10.2.0.3')],
    });
    assert.equal(answer(ipcache, '192.0.2.2'), undefined, 'not before it begins');
    await remote.begin();
    const answers = ['192.0.2.1', '192.0.2.2', '2001:db8::2', '10.2.0.1', '10.2.0.2', '10.2.0.3'];
    assert.deepEqual(
      answers.map((text) => answer(ipcache, text)),
      [undefined, '6', '6', '6 via 192.0.2.2', '4 via 192.0.2.2', '8 via 192.0.2.2'],
    );
    assert.deepEqual(
      kernel.nodes.map(({ name, tunnelEndpoint, podCidrs, addresses }) => [
        name,
        formatAddress(tunnelEndpoint!),
        podCidrs.map(formatCidr),
        addresses.map(formatAddress),
      ]),
      [['n2', '192.0.2.2', ['10.2.0.0/24'], ['192.0.2.2', '2001:db8::2']]],
    );
    nodes.set('custom-resource', 'n2', node('n2', ['192.0.2.22'], '10.2.0.0/24'));
    assert.deepEqual([answer(ipcache, '192.0.2.2'), answer(ipcache, '192.0.2.22')], [undefined, '6']);
    nodes.set('custom-resource', 'n2', undefined);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([answer(ipcache, '192.0.2.22'), kernel.nodes], [undefined, []]);
  });

  test('what the kernel refuses is told once, and tried again until it takes it', async () => {
    const { nodes, kernel, clock, errors, remote } = start(undefined);
    kernel.fails = true;
    nodes.set('kubernetes', 'n2', OTHER);
    await remote.begin();
    await clock.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(errors.length, 1);
    kernel.fails = false;
    await clock.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
      kernel.nodes.map(({ name, tunnelEndpoint }) => [name, tunnelEndpoint]),
      [['n2', undefined]],
    );
  });
});

describe('endpoints of other nodes', () => {
  function start(tunnelFamily: 4 | 6 | undefined) {
    const nodes = new NodeTable('n1');
    const ipcache = new Ipcache();
    const order: string[] = [];
    const ports = new Map<string, number>();
    ipcache.subscribe((changes) => order.push(`ipcache ${changes.map(({ prefix }) => formatCidr(prefix)).join()}`));
    const endpoints = new RemoteEndpoints({
      ...{ nodes, ipcache, tunnelFamily, source: 'custom-resource' },
      isOwnAddress: (address) => addressEquals(address, parseAddress('192.0.2.1')),
      settlePolicies: () => {
        order.push('policies');
        return Promise.resolve();
      },
      setNamedPorts: (owner, all) => ports.set(owner, all.flatMap(({ namedPorts }) => namedPorts).length),
    });
    const settled = () => new Promise((resolve) => setImmediate(resolve));
    return { nodes, ipcache, endpoints, order, ports, settled };
  }

  const pod = (name: string, ip: string, host: string | undefined, identity = 1000): AnnouncedEndpoint => ({
    ...{ namespace: 'default', name, identity: identityId(identity), addresses: [parseAddress(ip)] },
    nodeAddress: host === undefined ? undefined : parseAddress(host),
    namedPorts: [{ name: 'http', protocol: 6, port: 80 }],
  });

  test('policies know an identity before the ipcache does', async () => {
    const { endpoints, ipcache, order, ports } = start(4);
    endpoints.set('a', [pod('a', '10.2.0.9', '192.0.2.2')]);
    assert.deepEqual(order, [], 'nothing before it begins');
    await endpoints.begin();
    assert.deepEqual(order, ['policies', 'ipcache 10.2.0.9/32']);
    assert.equal(answer(ipcache, '10.2.0.9'), '1000 via 192.0.2.2');
    assert.deepEqual([ports.get('a'), endpoints.size], [1, 1]);
  });

  test('those of this node are left to this node', async () => {
    const { endpoints, ipcache, ports } = start(4);
    endpoints.set('a', [pod('a', '10.1.0.9', '192.0.2.1')]);
    await endpoints.begin();
    assert.deepEqual([answer(ipcache, '10.1.0.9'), ports.get('a')], [undefined, 0]);
  });

  test('an address that moves belongs to the last who announced it, whatever comes late', async () => {
    const { endpoints, ipcache, settled } = start(4);
    await endpoints.begin();
    endpoints.set('old', [pod('old', '10.2.0.9', '192.0.2.2', 1000)]);
    await settled();
    endpoints.set('new', [pod('new', '10.2.0.9', '192.0.2.3', 2000)]);
    await settled();
    endpoints.set('old', []);
    await settled();
    assert.equal(answer(ipcache, '10.2.0.9'), '2000 via 192.0.2.3');
    endpoints.set('new', [pod('new', '10.2.0.10', '192.0.2.3', 2000)]);
    await settled();
    assert.deepEqual([answer(ipcache, '10.2.0.9'), answer(ipcache, '10.2.0.10')], [undefined, '2000 via 192.0.2.3']);
  });

  test('a node is tunnelled to at the address that it announces now', async () => {
    const { endpoints, ipcache, nodes, settled } = start(6);
    await endpoints.begin();
    endpoints.set('a', [pod('a', '10.2.0.9', '192.0.2.2')]);
    await settled();
    assert.equal(answer(ipcache, '10.2.0.9'), '1000', 'no address of the family is known');
    nodes.set('custom-resource', 'n2', OTHER);
    await settled();
    assert.equal(answer(ipcache, '10.2.0.9'), '1000 via 2001:db8::2');
    nodes.set('custom-resource', 'n2', undefined);
    await settled();
    assert.equal(answer(ipcache, '10.2.0.9'), '1000');
  });

  test('routed, there is no tunnel', async () => {
    const { endpoints, ipcache } = start(undefined);
    endpoints.set('a', [pod('a', '10.2.0.9', '192.0.2.2')]);
    await endpoints.begin();
    assert.equal(answer(ipcache, '10.2.0.9'), '1000');
  });
});

test('the API server keeps its identity at the address of a node', () => {
  const ipcache = new Ipcache();
  const apiServers = new ApiServers(ipcache);
  const at = parseAddress('192.0.2.2');
  ipcache.upsert({ prefix: parseCidr('192.0.2.2/32'), identity: identityId(6), source: 'custom-resource', owner: 'n' });
  apiServers.set('slice', [at]);
  assert.equal(answer(ipcache, '192.0.2.2'), '7');
  apiServers.set('slice', []);
  assert.equal(answer(ipcache, '192.0.2.2'), '6');
});
