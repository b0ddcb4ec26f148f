/**
 * How long names keep addresses open, in real time; DNS by a pod of the cluster; the agent's own questions. The clock that
 * tests own is in agent/daemon/names.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { Actor } from '../harness/actor.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { tryRun } from '../harness/exec.ts';
import { WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { namespaceManifest, Pod, podManifest } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const ZONE = 'cilium.io.';
const PORT = 8080;
/** Addresses of the world; no policy speaks of them. */
const USED = { 4: '198.18.0.1', 6: '2001:db8:5::1' } as const;
const UNUSED = { 4: '198.18.0.2', 6: '2001:db8:5::2' } as const;
const PARTNER = { 4: '198.18.0.3', 6: '2001:db8:5::3' } as const;
const STRANGER = { 4: '198.18.0.4', 6: '2001:db8:5::4' } as const;
const RECORDS = [
  ...both('used', 1, USED),
  ...both('unused', 1, UNUSED),
  ...both('partner', 3, PARTNER),
  // Of a pod: a lie, which must open nothing.
  `liar.${ZONE} 60 A 10.244.0.4`,
];
/** The page that most people copy from: DNS to kube-dns, and then names. */
const POLICY = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: fqdn, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toEndpoints:
        - matchLabels: { k8s:io.kubernetes.pod.namespace: kube-system, k8s:k8s-app: kube-dns }
      toPorts:
        - ports: [{ port: "53", protocol: ANY }]
          rules:
            dns: [{ matchPattern: "*.cilium.io" }]
    - toFQDNs: [{ matchPattern: "*.cilium.io" }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: partner, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress:
    - fromFQDNs: [{ matchName: partner.cilium.io }]
      toPorts:
        - ports: [{ port: "${PORT}", protocol: TCP }]
`;
/** More than enough for leases of a second, looked for every five, and a collection every second. */

const stack = new AsyncDisposableStack();
let node: WeirNode;
let api: ApiClient;
let dns: Pod;
let client: Pod;
let server: Pod;
let world: Actor;

function both(name: string, ttl: number, addresses: { readonly 4: string; readonly 6: string }): readonly string[] {
  return [`${name}.${ZONE} ${ttl} A ${addresses[4]}`, `${name}.${ZONE} ${ttl} AAAA ${addresses[6]}`];
}

before(async () => {
  const flags = ['--conntrack-gc-interval', '1s', '--fromfqdns-resolvers', WORLD_ADDRESSES.v4];
  node = stack.use(new WeirNode({ name: 'fqdnlife', flags }));
  node.manifest('namespaces.yaml', namespaceManifest('kube-system'));
  node.manifest('dns.yaml', podManifest('kube-dns', { 'k8s-app': 'kube-dns' }, 'kube-system'));
  node.manifest('pods.yaml', ['client', 'server'].map((app) => podManifest(app, { app })).join('---\n'));
  node.manifest('policy.yaml', POLICY);
  node.world.ip('route add local 198.18.0.0/16 dev lo');
  node.world.ip('-6 route add local 2001:db8:5::/112 dev lo');
  // IPv6 connects from addresses that an interface has, and from no others.
  for (const address of [PARTNER[6], STRANGER[6]]) node.world.ip(`addr add ${address}/128 dev lo nodad`);
  node.ns.ip(`route add 198.18.0.0/16 via ${WORLD_ADDRESSES.v4}`);
  node.ns.ip(`-6 route add 2001:db8:5::/112 via ${WORLD_ADDRESSES.v6}`);
  const zone = { kind: 'unbound', zone: ZONE, records: RECORDS } as const;
  stack.use(await DnsServerProcess.start(node.world, { ...zone, addresses: Object.values(WORLD_ADDRESSES) }));
  world = stack.use(await Actor.start(node.world));
  await world.do({ op: 'serve', port: PORT });
  await node.startAgent();
  api = new ApiClient(node.socket);
  dns = stack.use(await Pod.create(node, 'kube-dns', 'kube-system'));
  stack.use(await DnsServerProcess.start(dns.ns, { ...zone, addresses: [dns.ipv4, dns.ipv6] }));
  client = stack.use(await Pod.create(node, 'client'));
  server = stack.use(await Pod.create(node, 'server'));
  await server.actor.do({ op: 'serve', port: PORT });
  await waitFor('the first answer', () => ask('used', 4) !== '');
});
after(() => stack.disposeAsync());

function dig(family: 4 | 6, ...words: string[]): string {
  const address = family === 4 ? dns.ipv4 : dns.ipv6;
  return tryRun([...client.ns.enter, 'dig', `@${address}`, '+time=5', '+tries=6', ...words]).stdout;
}

function ask(name: string, family: 4 | 6, ...words: string[]): string {
  return dig(family, ...words, '+short', `${name}.${ZONE}`, family === 4 ? 'A' : 'AAAA').trim();
}

function reach(host: string): Promise<string> {
  return client.actor.do({ op: 'tcp', host, port: PORT, timeoutMs: ANSWER_MS });
}

/** As {@link reach}, where nobody is to answer. */
function knock(host: string): Promise<string> {
  return client.actor.do({ op: 'tcp', host, port: PORT, timeoutMs: SILENCE_MS });
}

async function isOpen(address: string): Promise<boolean> {
  const [entry] = await api.ips(`${address}/${address.includes(':') ? 128 : 32}`);
  return entry?.metadata?.source === 'fqdn';
}

for (const family of [4, 6] as const) {
  describe(`over IPv${family}`, () => {
    test('kube-dns answers for what its rule names, over UDP and TCP, and refuses the rest', async () => {
      assert.equal(ask('used', family, '+notcp'), USED[family]);
      assert.equal(await reach(USED[family]), 'ok');
      assert.equal(ask('used', family, '+tcp'), USED[family]);
      assert.match(dig(family, 'example.com'), /status: REFUSED/);
      assert.match(dig(family, '+tcp', 'example.com'), /status: REFUSED/);
    });

    test('a live connection outlives the TTL; the address of a dead one is closed after collection', async () => {
      await using holder = await Actor.start(client.ns);
      assert.equal(ask('used', family), USED[family]);
      assert.equal(ask('unused', family), UNUSED[family]);
      const held = await holder.do({ op: 'hold', host: USED[family], port: PORT, timeoutMs: ANSWER_MS });
      assert.match(held, /^held /);
      const say = (): Promise<string> => holder.do({ op: 'say', id: Number(held.slice(5)), timeoutMs: ANSWER_MS });
      await waitFor('the unused address to be closed', async () => !(await isOpen(UNUSED[family])));
      assert.equal(await knock(UNUSED[family]), 'timeout');
      const kept = async (): Promise<boolean> =>
        (await api.names({ source: 'connection' })).some(({ ips }) => ips?.includes(USED[family]) === true);
      await waitFor('the TTL to end', kept);
      assert.equal(await say(), 'ok');
      assert.equal(await say(), 'ok');
      await holder[Symbol.asyncDispose]();
      await waitFor('the used address to be closed', async () => !(await isOpen(USED[family])));
      assert.equal(await knock(USED[family]), 'timeout');
      assert.equal(ask('used', family), USED[family]);
      assert.equal(await reach(USED[family]), 'ok');
    });

    test('ingress by name: whoever has an address of the name may come in, and nobody else', async () => {
      const host = family === 4 ? server.ipv4 : server.ipv6;
      const from = (localAddress: string, timeoutMs = ANSWER_MS): Promise<string> =>
        world.do({ op: 'tcp', host, port: PORT, timeoutMs, localAddress });
      await waitFor('the name', () => isOpen(PARTNER[family]));
      assert.equal(await from(PARTNER[family]), 'ok');
      assert.equal(await from(STRANGER[family], SILENCE_MS), 'timeout');
      assert.equal(await from(PARTNER[family]), 'ok', 'also after its first TTL');
    });
  });
}

test('an answer with the address of a pod opens nothing (S22)', async () => {
  assert.equal(server.ipv4, '10.244.0.4');
  assert.equal(ask('liar', 4), server.ipv4);
  const [entry] = await api.ips(`${server.ipv4}/32`);
  assert.equal(entry?.metadata?.source, 'agent-local');
  assert.equal(await knock(server.ipv4), 'timeout');
});

test('a restart of the agent forgets no name: what was open is, without being asked for again', async () => {
  assert.equal(ask('used', 4), USED[4]);
  assert.equal(ask('partner', 6), PARTNER[6]);
  await using holder = await Actor.start(client.ns);
  const held = await holder.do({ op: 'hold', host: USED[4], port: PORT, timeoutMs: ANSWER_MS });
  await node.stopAgent();
  assert.equal(await reach(PARTNER[6]), 'ok', 'while no agent runs');
  await node.startAgent();
  assert.equal(await holder.do({ op: 'say', id: Number(held.slice(5)), timeoutMs: ANSWER_MS }), 'ok');
  assert.equal(await reach(USED[4]), 'ok');
  await waitFor('DNS to go on', () => ask('used', 6) === USED[6]);
  assert.equal(await reach(USED[6]), 'ok');
});
