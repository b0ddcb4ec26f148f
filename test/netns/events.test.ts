/** What a node tells of its packets: traces that are few, and limits that say how much they leave out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

test('traces of a connection are its landmarks, and limits count what they leave out', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'events' }));
  for (const name of ['client', 'server']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  await node.startAgent(['--monitor-aggregation-interval', '1h']);
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  await server.actor.do({ op: 'serve', port: 80 });
  const api = new ApiClient(node.socket);

  await t.test('each way, where it arrives: its first packet and its last', async () => {
    await using traces = await Events.listen(api, 'trace');
    const exchange = { op: 'bulk', host: server.ipv4, port: 80, bytes: 400_000, timeoutMs: ANSWER_MS } as const;
    assert.equal(await client.actor.do(exchange), 'ok');
    await waitFor('the end of the connection', () => traces.of('TCP').filter(isLast).length >= 2);
    const landmarks = traces.of('TCP').map((event) => {
      const way = event.reply === true ? 'reply' : 'forward';
      return `${event.endpoint} ${way} ${isFirst(event) ? 'first' : isLast(event) ? 'last' : 'between'}`;
    });
    const id = async (name: string): Promise<number> => (await api.endpoint(`pod-name:default/${name}`)).id;
    const ways = [`${await id('server')} forward`, `${await id('client')} reply`];
    const expected = ways.flatMap((way) => ['first', 'last'].map((which) => `${way} ${which}`));
    assert.deepEqual([...new Set(landmarks)].sort(), expected.sort());
    // A FIN may be followed by the RST of a socket that is gone already.
    assert.ok(landmarks.length <= expected.length + 2, landmarks.join(', '));
  });

  await t.test('without aggregation, every packet; the level is a flag of the agent', async () => {
    await node.stopAgent();
    await node.startAgent(['--monitor-aggregation', 'none']);
    await using traces = await Events.listen(api, 'trace');
    for (let i = 0; i < 3; i++) {
      assert.equal(await client.actor.do({ op: 'icmp', host: server.ipv6, timeoutMs: ANSWER_MS }), 'ok');
    }
    // A question and an answer, each leaving one pod and entering the other.
    await waitFor('all packets', () => traces.of('ICMPv6').filter(({ icmp }) => (icmp?.type ?? 0) <= 129).length >= 12);
  });

  await t.test('audit mode of a pod: what policy denies is forwarded, and reported with the policy', async () => {
    const ask = (timeoutMs = SILENCE_MS): Promise<string> =>
      client.actor.do({ op: 'icmp', host: server.ipv6, timeoutMs });
    const audit = async (value: 'Enabled' | 'Disabled'): Promise<void> => {
      const endpoint = (await api.endpoint('pod-name:default/server')).id;
      assert.equal((await node.weir('endpoint', 'config', String(endpoint), `PolicyAuditMode=${value}`)).status, 0);
    };
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await waitFor('the denial', async () => (await ask()) !== 'ok');
    await using verdicts = await Events.listen(api, 'policy-verdict');
    const audited = (): readonly MonitorEvent[] => verdicts.of('ICMPv6').filter(({ verdict }) => verdict === 'audit');
    await audit('Enabled');
    await waitFor('the passage', async () => (await ask()) === 'ok');
    const event = await waitFor('the report', () => audited()[0]);
    assert.deepEqual(event.policies, ['CiliumNetworkPolicy default/server']);
    assert.equal(event.destination.pod, 'default/server');
    assert.match((await node.weir('endpoint', 'list')).stdout, /Disabled \(Audit\)/);
    node.manifest('client.policy.yaml', serverPolicy('nobody').replaceAll('server', 'client'));
    const back = (): Promise<string> => server.actor.do({ op: 'icmp', host: client.ipv6, timeoutMs: SILENCE_MS });
    await waitFor('the denial of the other', async () => (await back()) !== 'ok');
    await node.stopAgent('SIGKILL');
    assert.equal(await ask(ANSWER_MS), 'ok', 'without an agent');
    await node.startAgent();
    assert.equal(await ask(ANSWER_MS), 'ok', 'the next agent keeps the mode');
    assert.notEqual(await back(), 'ok');
    await audit('Disabled');
    await waitFor('the denial', async () => (await ask()) !== 'ok');
    node.manifest('policy.yaml', '');
    node.manifest('client.policy.yaml', '');
  });

  await t.test('an audited policy: what it denies is forwarded and reported, until it is enforced', async () => {
    const ask = (timeoutMs = SILENCE_MS): Promise<string> =>
      client.actor.do({ op: 'icmp', host: server.ipv6, timeoutMs });
    const audited = (policy: string): string =>
      policy.replace('  namespace:', '  annotations: { policy.weir.io/audit: "true" }\n  namespace:');
    await using verdicts = await Events.listen(api, 'policy-verdict');
    const passesWithReport = async (name: string): Promise<void> => {
      await waitFor(`a report of ${name}`, async () => {
        await ask();
        return verdicts.of('ICMPv6').find(({ verdict, policies }) => verdict === 'audit' && policies?.includes(name));
      });
      assert.equal(await ask(ANSWER_MS), 'ok');
    };
    node.manifest('audited.yaml', audited(serverPolicy('nobody')));
    await passesWithReport('CiliumNetworkPolicy default/server');
    assert.match((await node.weir('endpoint', 'list')).stdout, /Disabled, 1 audited/);
    const denial = serverPolicy('client').replace('name: server', 'name: denial').replace('ingress:', 'ingressDeny:');
    node.manifest('policy.yaml', serverPolicy('client'));
    node.manifest('audited.yaml', audited(denial));
    await passesWithReport('CiliumNetworkPolicy default/denial');
    node.manifest('audited.yaml', denial);
    await waitFor('the denial', async () => (await ask()) !== 'ok');
    node.manifest('audited.yaml', '');
    node.manifest('policy.yaml', '');
  });

  await t.test('a limit leaves events out, and weir status says how many', async () => {
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await node.stopAgent();
    await node.startAgent(['--bpf-events-default-rate-limit', '1', '--bpf-events-default-burst-limit', '2']);
    await waitFor('the denial', async () => {
      return (await client.actor.do({ op: 'icmp', host: server.ipv4, timeoutMs: SILENCE_MS })) !== 'ok';
    });
    const ask = (): Promise<string> => client.actor.do({ op: 'icmp', host: server.ipv4, timeoutMs: 10 });
    await waitFor('the report', async () => {
      await Promise.all(Array.from({ length: 10 }, ask));
      return /left out by the rate limit: [1-9]\d* drop/.test((await node.weir('status')).stdout);
    });
  });
});

const isFirst = ({ tcpFlags }: MonitorEvent): boolean => tcpFlags?.includes('SYN') === true;
const isLast = ({ tcpFlags }: MonitorEvent): boolean => tcpFlags?.includes('FIN') === true;

/** Events of a type, from now on. */
class Events implements AsyncDisposable {
  readonly #gone = new AbortController();
  readonly #events: MonitorEvent[] = [];
  #listening: Promise<void> | undefined;

  static async listen(api: ApiClient, type: MonitorEvent['type']): Promise<Events> {
    const events = new Events();
    await new Promise<void>((resolve, reject) => {
      events.#listening = events.#follow(api, type, resolve);
      events.#listening.catch(reject);
    });
    return events;
  }

  of(protocol: string): readonly MonitorEvent[] {
    return this.#events.filter((event) => event.protocol === protocol);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort();
    await this.#listening;
  }

  async #follow(api: ApiClient, type: MonitorEvent['type'], onOpen: () => void): Promise<void> {
    for await (const event of api.monitor(this.#gone.signal, { types: [type], onOpen })) this.#events.push(event);
  }
}
