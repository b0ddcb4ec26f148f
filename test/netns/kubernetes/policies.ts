/** Policies of the API, on three nodes: whom each kind of peer lets in and out, tried by pods, hosts and the world. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Actor } from '../../harness/actor.ts';
import type { Netns } from '../../harness/netns.ts';
import { WORLD_ADDRESSES } from '../../harness/node.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../../harness/wait.ts';
import { POLICIES, PORT, SERVICE, type Scene } from './scene.ts';

/** Whoever asks; the server is on the first node. */
type Who = 'client1' | 'client2' | 'client3' | 'stranger2' | 'guest' | 'host1' | 'host2' | 'world';

const EVERYBODY: readonly Who[] = ['client1', 'client2', 'client3', 'stranger2', 'guest', 'host1', 'host2', 'world'];
const CLIENTS = ['client1', 'client2', 'client3'] as const;
const PODS = [...CLIENTS, 'stranger2', 'guest'] as const;
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
    admitted: ['guest'],
  },
  {
    what: 'labels of a namespace',
    rule: { fromEndpoints: [{ matchLabels: { [OF_SHOP]: 'shop' } }] },
    admitted: ['guest'],
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
  readonly reached: readonly Target[];
}

/** Where a client of the second node goes. */
type Target = 'server' | 'service' | 'other' | 'world';

const TARGETS: readonly Target[] = ['server', 'service', 'other', 'world'];

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

export async function policies(t: TestContext, scene: Scene): Promise<void> {
  await t.test('ingress', async (t2) => await ingress(t2, scene));
  await t.test('egress', async (t2) => await egress(t2, scene));
}

async function ingress(t: TestContext, { cluster, server, members, clients, strangers, guest }: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { server: api, nodes } = cluster;
  const start = async (ns: Netns): Promise<Actor> => stack.use(await Actor.start(ns));
  const actors: Readonly<Record<Who, Actor>> = {
    ...{ client1: clients[0].actor, client2: clients[1].actor, client3: clients[2].actor },
    ...{ stranger2: strangers[1].actor, guest: guest.actor },
    ...{ host1: await start(members[0].node.ns), host2: await start(members[1].node.ns) },
    world: await start(nodes.world),
  };
  for (const { what, rule, admitted } of INGRESS) {
    await t.test(`by ${what}`, async () => {
      await api.merge(`${POLICIES}/server`, { spec: { ingress: [rule] } });
      const families = JSON.stringify(rule).includes('CIDR') ? ['ipv4' as const] : (['ipv4', 'ipv6'] as const);
      await becomes(
        families.flatMap((family) =>
          EVERYBODY.map((who) => ({
            ...{ what: `${who} ${family}`, from: actors[who], host: server[family] },
            isReached: admitted.includes(who) || who === 'host1',
          })),
        ),
      );
    });
  }
}

async function egress(t: TestContext, { cluster, server, clients, strangers }: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { server: api, nodes } = cluster;
  await api.delete(`${POLICIES}/server`);
  const world = stack.use(await Actor.start(nodes.world));
  for (const actor of [strangers[1].actor, world]) await actor.do({ op: 'serve', port: PORT });
  const targets: Readonly<Record<Target, string>> = {
    ...{ server: server.ipv4, service: SERVICE, other: strangers[1].ipv4, world: WORLD_ADDRESSES.v4 },
  };
  const whenReached = (reached: readonly Target[]): readonly Question[] =>
    TARGETS.map((target) => ({
      ...{ what: target, from: clients[1].actor, host: targets[target], isReached: reached.includes(target) },
    }));
  await becomes(whenReached(TARGETS));
  await api.create(POLICIES, clientPolicy([{}]));
  for (const { what, rule, reached } of EGRESS) {
    await t.test(`by ${what}`, async () => {
      await api.merge(`${POLICIES}/client`, clientPolicy([rule]));
      await becomes(whenReached(reached));
    });
  }
}

/** Of the clients; an empty list of peers selects nobody. */
const clientPolicy = (egress: readonly object[]) => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'client', namespace: 'default' } },
  spec: { endpointSelector: { matchLabels: { app: 'client' } }, egress },
});

/** Who asks where, and what policy says of it. */
interface Question {
  readonly what: string;
  readonly from: Actor;
  readonly host: string;
  readonly isReached: boolean;
}

/** Waits for the answers, and asks once more, with patience for those that should be there: what has come must stay. */
async function becomes(questions: readonly Question[]): Promise<void> {
  const expected = Object.fromEntries(questions.map(({ what, isReached }) => [what, isReached ? 'ok' : 'timeout']));
  await waitFor('the policy to be in force', async () => {
    assert.deepEqual(await askAll(questions, SILENCE_MS), expected);
    return true;
  });
  assert.deepEqual(await askAll(questions, ANSWER_MS), expected);
}

/** Asks over TCP and UDP, all at once; what they agree on, or both. */
async function askAll(questions: readonly Question[], patienceMs: number): Promise<Record<string, string>> {
  const answers = await Promise.all(
    questions.map(async ({ what, from, host, isReached }): Promise<[string, string]> => {
      const timeoutMs = isReached ? patienceMs : SILENCE_MS;
      const results = await Promise.all(
        (['tcp', 'udp'] as const).map((op) => from.do({ op, host, port: PORT, timeoutMs })),
      );
      return [what, [...new Set(results)].join(' and ')];
    }),
  );
  return Object.fromEntries(answers);
}
