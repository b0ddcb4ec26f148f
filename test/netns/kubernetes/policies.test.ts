/** Policies of the API, on three nodes: whom each kind of peer lets in and out, tried by pods, hosts and the world. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Actor } from '../../harness/actor.ts';
import { WORLD_ADDRESSES } from '../../harness/node.ts';
import { waitFor } from '../../harness/wait.ts';
import { MODES, openScene, POLICIES, PORT, SERVICE } from './scene.ts';

/** Whoever asks; the server is on the first node. */
type Who = 'client1' | 'client2' | 'client3' | 'stranger2' | 'guest3' | 'host1' | 'host2' | 'world';

const EVERYBODY: readonly Who[] = ['client1', 'client2', 'client3', 'stranger2', 'guest3', 'host1', 'host2', 'world'];
const CLIENTS = ['client1', 'client2', 'client3'] as const;
const PODS = [...CLIENTS, 'stranger2', 'guest3'] as const;
const WORLD = `${WORLD_ADDRESSES.v4}/32`;
const OF_SHOP = 'io.cilium.k8s.namespace.labels.team';

interface IngressCase {
  readonly what: string;
  readonly rule: object;
  readonly admitted: readonly Who[];
}

/** The host of a pod is always admitted to it. */
const INGRESS: readonly IngressCase[] = [
  { what: 'labels', rule: { fromEndpoints: [{ matchLabels: { app: 'client' } }] }, admitted: CLIENTS },
  {
    what: 'the name of a namespace',
    rule: { fromEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'shop' } }] },
    admitted: ['guest3'],
  },
  {
    what: 'labels of a namespace',
    rule: { fromEndpoints: [{ matchLabels: { [OF_SHOP]: 'shop' } }] },
    admitted: ['guest3'],
  },
  { what: 'prefix', rule: { fromCIDR: [WORLD] }, admitted: ['world'] },
  {
    what: 'prefix of pods, which never selects pods',
    rule: { fromCIDR: ['10.244.0.0/16'] },
    admitted: [],
  },
  {
    what: 'prefix but for a part of it',
    rule: { fromCIDRSet: [{ cidr: '192.0.2.0/24', except: [WORLD] }] },
    admitted: [],
  },
  { what: 'the entity cluster', rule: { fromEntities: ['cluster'] }, admitted: [...PODS, 'host2'] },
  { what: 'the entity world', rule: { fromEntities: ['world'] }, admitted: ['world'] },
  { what: 'the entity remote-node', rule: { fromEntities: ['remote-node'] }, admitted: ['host2'] },
  { what: 'the entity all', rule: { fromEntities: ['all'] }, admitted: EVERYBODY },
];

interface EgressCase {
  readonly what: string;
  readonly rule: object;
  /** Of {@link TARGETS}. */
  readonly reached: readonly Target[];
}

/** Where a client of the second node goes. */
type Target = 'server' | 'service' | 'other' | 'world';

const EGRESS: readonly EgressCase[] = [
  {
    what: 'labels',
    rule: { toEndpoints: [{ matchLabels: { app: 'server' } }] },
    // A service is what its backends are.
    reached: ['server', 'service'],
  },
  {
    what: 'a service',
    rule: { toServices: [{ k8sService: { serviceName: 'server', namespace: 'default' } }] },
    reached: ['server', 'service'],
  },
  {
    what: 'another service',
    rule: { toServices: [{ k8sService: { serviceName: 'nothing', namespace: 'default' } }] },
    reached: [],
  },
  { what: 'prefix', rule: { toCIDR: [WORLD] }, reached: ['world'] },
  { what: 'the entity world', rule: { toEntities: ['world'] }, reached: ['world'] },
  { what: 'the entity cluster', rule: { toEntities: ['cluster'] }, reached: ['server', 'service', 'other'] },
];

for (const mode of MODES) {
  test(`policies of three nodes: ${mode.name}`, { timeout: 600_000 }, async (t) => {
    await using stack = new AsyncDisposableStack();
    const scene = await openScene(mode);
    const { cluster, server, members, clients, strangers } = scene;
    stack.use(cluster);
    const { server: api } = cluster;
    await api.create('/api/v1/namespaces', { metadata: { name: 'shop', labels: { team: 'shop' } } });
    const guest = await cluster.run(members[2], 'guest3', { app: 'client' }, 'shop');
    const host = async (index: 0 | 1): Promise<Actor> => stack.use(await Actor.start(members[index].node.ns));
    const world = stack.use(await Actor.start(cluster.nodes.world));
    const actors: Readonly<Record<Who, Actor>> = {
      ...{ client1: clients[0].actor, client2: clients[1].actor, client3: clients[2].actor },
      ...{ stranger2: strangers[0].actor, guest3: guest.actor, host1: await host(0), host2: await host(1), world },
    };
    await cluster.settled();

    for (const { what, rule, admitted } of INGRESS) {
      await t.test(`ingress by ${what}`, async () => {
        await api.merge(`${POLICIES}/server`, { spec: { ingress: [rule] } });
        const expected = Object.fromEntries(
          EVERYBODY.map((who) => [who, admitted.includes(who) || who === 'host1' ? 'ok' : 'timeout']),
        );
        for (const address of [server.ipv4, server.ipv6]) {
          if (address.includes(':') && JSON.stringify(rule).includes('CIDR')) continue;
          await becomes(expected, async () => await askAll(actors, address));
        }
      });
    }

    await t.test('egress', async (t2) => {
      await api.delete(`${POLICIES}/server`);
      const [, client] = clients;
      for (const actor of [strangers[1].actor, world]) await actor.do({ op: 'serve', port: PORT });
      const targets: Readonly<Record<Target, string>> = {
        ...{ server: server.ipv4, service: SERVICE, other: strangers[1].ipv4, world: WORLD_ADDRESSES.v4 },
      };
      const ask = async (): Promise<Record<string, string>> => await askEach(client.actor, targets);
      await becomes({ server: 'ok', service: 'ok', other: 'ok', world: 'ok' }, ask);
      await api.create(POLICIES, clientPolicy([{}]));
      for (const { what, rule, reached } of EGRESS) {
        await t2.test(`by ${what}`, async () => {
          await api.merge(`${POLICIES}/client`, clientPolicy([rule]));
          await becomes(
            Object.fromEntries(
              Object.keys(targets).map((to) => [to, reached.includes(to as Target) ? 'ok' : 'timeout']),
            ),
            ask,
          );
        });
      }
    });
  });
}

/** Of the clients; an empty list of peers selects nobody. */
const clientPolicy = (egress: readonly object[]) => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'client', namespace: 'default' } },
  spec: { endpointSelector: { matchLabels: { app: 'client' } }, egress },
});

const askAll = async (actors: Readonly<Record<Who, Actor>>, host: string): Promise<Record<string, string>> =>
  await collect(EVERYBODY.map((who) => [who, actors[who], host]));

const askEach = async (actor: Actor, targets: Readonly<Record<Target, string>>): Promise<Record<string, string>> =>
  await collect(Object.entries(targets).map(([name, host]) => [name, actor, host]));

/** Asks over TCP and UDP; what they agree on, or both. */
async function collect(asked: readonly (readonly [string, Actor, string])[]): Promise<Record<string, string>> {
  const answers = await Promise.all(
    asked.map(async ([name, actor, host]): Promise<[string, string]> => {
      const results = await Promise.all(
        (['tcp', 'udp'] as const).map((op) => actor.do({ op, host, port: PORT, timeoutMs: 2_000 })),
      );
      return [name, [...new Set(results)].join(' and ')];
    }),
  );
  return Object.fromEntries(answers);
}

/** Waits for the answers, and asks once more: what has come must stay. */
async function becomes(
  expected: Readonly<Record<string, string>>,
  ask: () => Promise<Record<string, string>>,
): Promise<void> {
  await waitFor('the policy to be in force', async () => {
    assert.deepEqual(await ask(), expected);
    return true;
  });
  assert.deepEqual(await ask(), expected);
}
