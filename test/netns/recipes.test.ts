/** Every example of docs/policies, with real traffic: what its comment says is what the packets do. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { policyExamples, type ExpectedFlow, type PolicyExample } from '../docs/policy-example.ts';
import { Actor } from '../harness/actor.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod } from '../harness/pod.ts';
import { waitFor } from '../harness/wait.ts';

const POLICIES = path.join(import.meta.dirname, '../../docs/policies');
const PODS = ['shop/web', 'shop/api', 'shop/db', 'monitoring/prometheus', 'dev/tester', 'kube-system/coredns'];
/** Time after which an attempt counts as denied. */
const TIMEOUT_MS = 400;

/**
 * What one node cannot play: other nodes, pods by labels alone, ICMP types that ping does not send, names and requests
 * that only a layer 7 proxy can judge. The offline engine decides those in test/docs.
 */
function playable({ file }: PolicyExample, { source, destination, port }: ExpectedFlow): boolean {
  const onStage = (who: string): boolean => who === 'host' || PODS.includes(who) || /^[\d.]+$|^[\da-f:]+$/.test(who);
  const protocol = /^\d+\/(TCP|UDP)$|^icmp\/8$|^icmpv6\/128$/.test(port);
  return protocol && onStage(source) && onStage(destination) && !['cnp-fqdn.yaml', 'cnp-http.yaml'].includes(file);
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

  before(async () => {
    node = stack.use(new WeirNode({ name: 'recipes', flags: ['--enable-host-firewall'] }));
    node.manifest('cluster.yaml', readFileSync(path.join(POLICIES, 'cluster.yaml'), 'utf8'));
    await node.startAgent();
    client = new ApiClient(node.socket);
    for (const pod of PODS) {
      const [namespace, name] = pod.split('/') as [string, string];
      pods.set(pod, stack.use(await Pod.create(node, name, namespace)));
      actors.set(pod, pods.get(pod)!.actor);
    }
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
    for (const address of new Set(named.filter((who) => who !== 'host' && !PODS.includes(who)))) {
      const [length, gateway] = address.includes(':') ? [128, WORLD_ADDRESSES.v6] : [32, WORLD_ADDRESSES.v4];
      node.world.ip(`addr add ${address}/${length} dev lo${length === 128 ? ' nodad' : ''}`);
      node.ns.ip(`route add ${address}/${length} via ${gateway}`);
    }
  }

  async function serveAll(): Promise<void> {
    const ports = examples.flatMap(({ flows }) => flows.map(({ port }) => Number(/^(\d+)\//.exec(port)?.[1] ?? 0)));
    for (const actor of actors.values()) {
      for (const port of new Set(ports)) if (port !== 0) await actor.do({ op: 'serve', port });
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
  }

  async function play(flow: ExpectedFlow): Promise<string> {
    const actor = actors.get(flow.source) ?? actors.get('world')!;
    const host = addressOf(flow.destination, flow.port.startsWith('icmpv6'));
    if (flow.port.startsWith('icmp')) return line(flow, await actor.do({ op: 'icmp', host, timeoutMs: TIMEOUT_MS }));
    const [port, protocol] = flow.port.split('/') as [string, 'TCP' | 'UDP'];
    const localAddress = actors.has(flow.source) ? {} : { localAddress: flow.source };
    const op = protocol === 'TCP' ? 'tcp' : 'udp';
    return line(flow, await actor.do({ op, host, port: Number(port), timeoutMs: TIMEOUT_MS, ...localAddress }));
  }

  function addressOf(who: string, v6: boolean): string {
    if (who === 'host') return v6 ? NODE_ADDRESSES.v6 : NODE_ADDRESSES.v4;
    const pod = pods.get(who);
    return pod === undefined ? who : v6 ? pod.ipv6 : pod.ipv4;
  }
});

function line({ source, destination, port }: ExpectedFlow, outcome: string): string {
  return `${source} -> ${destination} ${port}: ${outcome}`;
}
