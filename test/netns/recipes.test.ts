/** Every example of docs/policies, with real traffic: what its comment says is what the packets do. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { policyExamples, type ExpectedFlow, type PolicyExample } from '../docs/policy-example.ts';
import { Actor } from '../harness/actor.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { tryRun } from '../harness/exec.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const POLICIES = path.join(import.meta.dirname, '../../docs/policies');
const PODS = ['shop/web', 'shop/api', 'shop/db', 'monitoring/prometheus', 'dev/tester', 'kube-system/coredns'];
const DNS = 'kube-system/coredns';
/** Time after which an attempt counts as denied. */
/** Names of the world that examples speak of, and their addresses. */
const NAMES: Readonly<Record<string, string>> = {
  'api.example.com': '198.18.0.1',
  'a.b.example.com': '198.18.0.2',
  'partner.example.com': '198.18.0.3',
  'other.org': '198.18.0.4',
};

/**
 * What one node cannot play: other nodes, pods by labels alone, ICMP types that ping does not send, requests that only a
 * layer 7 proxy can judge. The offline engine decides those in test/docs.
 */
function playable({ file }: PolicyExample, { source, destination, port }: ExpectedFlow): boolean {
  const onStage = (who: string): boolean =>
    who === 'host' || PODS.includes(who) || /^[\d.]+$|^[\da-f:]+$/.test(who) || nameIn(who) !== undefined;
  const protocol = /^\d+\/(TCP|UDP)$|^icmp\/8$|^icmpv6\/128$/.test(port);
  return protocol && onStage(source) && onStage(destination) && file !== 'cnp-http.yaml';
}

/** The name in `dns:api.example.com`. */
function nameIn(who: string): string | undefined {
  const name = /^dns:(.+)$/.exec(who)?.[1];
  if (name !== undefined && NAMES[name] === undefined) throw new Error(`${name} has no address here`);
  return name;
}

const examples = policyExamples().map((example) => ({
  ...example,
  flows: example.flows.filter((flow) => playable(example, flow)),
}));

describe('the examples of docs/policies, on the wire', () => {
  const stack = new AsyncDisposableStack();
  const actors = new Map<string, Actor>();
  const pods = new Map<string, Pod>();
  let node: WeirNode;
  let client: ApiClient;
  /** Addresses of the world that examples speak of. */
  let worldly: readonly string[];

  before(async () => {
    const flags = ['--enable-host-firewall', '--fromfqdns-resolvers', WORLD_ADDRESSES.v4];
    node = stack.use(new WeirNode({ name: 'recipes', flags }));
    node.manifest('cluster.yaml', readFileSync(path.join(POLICIES, 'cluster.yaml'), 'utf8'));
    await node.startAgent();
    client = new ApiClient(node.socket);
    for (const pod of PODS) {
      const [namespace, name] = pod.split('/') as [string, string];
      pods.set(pod, stack.use(await Pod.create(node, name, namespace)));
      actors.set(pod, pods.get(pod)!.actor);
    }
    await answerForNames(pods.get(DNS)!);
    actors.set('host', stack.use(await Actor.start(node.ns)));
    actors.set('world', stack.use(await Actor.start(node.world)));
    joinTheWorld();
    await serveAll();
  });
  after(() => stack.disposeAsync());

  for (const example of examples.filter(({ flows }) => flows.length > 0)) {
    test(`${example.file}: ${example.flows.length} flows`, async () => {
      await enforce(example);
      const seen = await Promise.all(example.flows.map(play));
      const expected = example.flows.map((flow) => line(flow, flow.allowed ? 'ok' : 'timeout'));
      assert.deepEqual(seen, expected);
    });
  }

  /** Gives the world every address outside the cluster that an example speaks of, and the node a way there. */
  function joinTheWorld(): void {
    const named = examples.flatMap(({ flows }) => flows.flatMap(({ source, destination }) => [source, destination]));
    const others = named.filter((who) => who !== 'host' && !PODS.includes(who));
    worldly = [...new Set(others.map((who) => NAMES[nameIn(who) ?? ''] ?? who))];
    for (const address of worldly) {
      const [length, gateway] = address.includes(':') ? [128, WORLD_ADDRESSES.v6] : [32, WORLD_ADDRESSES.v4];
      node.world.ip(`addr add ${address}/${length} dev lo${length === 128 ? ' nodad' : ''}`);
      node.ns.ip(`route add ${address}/${length} via ${gateway}`);
    }
  }

  /** The cluster's DNS, and the world's, which the node asks. */
  async function answerForNames(coredns: Pod): Promise<void> {
    const zone = 'example.com.';
    const records = Object.entries(NAMES).map(([name, address]) => `${name}. 60 A ${address}`);
    const server = { kind: 'unbound', zone, records: records.filter((record) => record.includes(zone)) } as const;
    const addresses = [WORLD_ADDRESSES.v4];
    stack.use(await DnsServerProcess.start(node.world, { ...server, addresses }));
    stack.use(await DnsServerProcess.start(coredns.ns, { ...server, addresses: [coredns.ipv4] }));
  }

  async function serveAll(): Promise<void> {
    const ports = examples.flatMap(({ flows }) => flows.map(({ port }) => Number(/^(\d+)\//.exec(port)?.[1] ?? 0)));
    for (const actor of actors.values()) {
      for (const port of new Set(ports)) {
        if (port === 0 || (port === 53 && actor === actors.get(DNS))) continue;
        // The world's DNS server has this port of another of its addresses.
        const addresses = port === 53 && actor === actors.get('world') ? { addresses: worldly } : {};
        await actor.do({ op: 'serve', port, ...addresses });
      }
    }
  }

  /** Puts the example's policies in force in place of the former ones, and waits until every endpoint enforces them. */
  async function enforce({ file }: PolicyExample): Promise<void> {
    const { revision } = await client.policy();
    node.manifest('example.yaml', readFileSync(path.join(POLICIES, file), 'utf8'));
    await waitFor(`${file} to be enforced`, async () => {
      const policy = await client.policy();
      const endpoints = await client.endpoints();
      const realized = endpoints.map((endpoint) => endpoint.status?.policy?.realized?.['policy-revision'] ?? 0);
      return policy.revision! > revision! && realized.every((at) => at >= policy.revision!);
    });
    await waitFor('the names that the node asks for', async () => {
      const known = (await client.names()).map(({ fqdn }) => fqdn);
      return (await client.nameSelectors()).DNSPollNames!.every((name) => known.includes(name));
    });
  }

  async function play(flow: ExpectedFlow): Promise<string> {
    const actor = actors.get(flow.source) ?? actors.get('world')!;
    if (flow.port.startsWith('53/') && flow.destination === DNS)
      return line(flow, resolve(flow, 'api.example.com') === undefined ? 'timeout' : 'ok');
    const asked = nameIn(flow.destination);
    // As an application would; what the proxy refuses, the pod tries all the same.
    if (asked !== undefined) resolve({ ...flow, destination: DNS }, asked);
    const host = addressOf(flow.destination, flow.port.startsWith('icmpv6'));
    const timeoutMs = flow.allowed ? ANSWER_MS : SILENCE_MS;
    if (flow.port.startsWith('icmp')) return line(flow, await actor.do({ op: 'icmp', host, timeoutMs }));
    const [port, protocol] = flow.port.split('/') as [string, 'TCP' | 'UDP'];
    const localAddress = actors.has(flow.source) ? {} : { localAddress: addressOf(flow.source, false) };
    const op = protocol === 'TCP' ? 'tcp' : 'udp';
    return line(flow, await actor.do({ op, host, port: Number(port), timeoutMs, ...localAddress }));
  }

  /** Asks the flow's destination for a name, from its source; undefined when there is no address in the answer. */
  function resolve({ source, destination, port, allowed }: ExpectedFlow, name: string): string | undefined {
    const from = pods.get(source)?.ns ?? node.world;
    const transport = port === '53/TCP' ? '+tcp' : '+notcp';
    const server = addressOf(destination, false);
    const words = [
      `@${server}`,
      transport,
      allowed ? '+time=5' : '+time=1',
      allowed ? '+tries=6' : '+tries=1',
      '+short',
      name,
    ];
    const answer = tryRun([...from.enter, 'dig', ...words]).stdout.trim();
    return answer === NAMES[name] ? answer : undefined;
  }

  function addressOf(who: string, v6: boolean): string {
    if (who === 'host') return v6 ? NODE_ADDRESSES.v6 : NODE_ADDRESSES.v4;
    const name = nameIn(who);
    if (name !== undefined) return NAMES[name]!;
    const pod = pods.get(who);
    return pod === undefined ? who : v6 ? pod.ipv6 : pod.ipv4;
  }
});

function line({ source, destination, port }: ExpectedFlow, outcome: string): string {
  return `${source} -> ${destination} ${port}: ${outcome}`;
}
