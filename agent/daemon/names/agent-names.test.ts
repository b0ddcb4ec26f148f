/** Names in the whole agent, on a kernel in memory and a DNS proxy that says what the test wants. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TIME_BUCKETS } from '../../../dns-proxy/contract.ts';
import type {
  DnsProxy,
  EndpointNames,
  LearnedAnswer,
  LearnTimes,
  NameGrants,
  ProxyCounters,
  ProxyListener,
  RulesChange,
} from '../../../dns-proxy/contract.ts';
import { parseAddress } from '../../model/address.ts';
import { ManualClock } from '../../model/manual-clock.ts';
import type { PolledAnswer } from './name-poller.ts';
import { AgentBench, POD, until } from '../testing.ts';

const SECOND = 1000;

/** Remembers what it is told, and learns what the test says. */
class FakeProxy implements DnsProxy {
  readonly endpoints = new Map<number, EndpointNames>();
  grants: NameGrants = { selectors: [], identities: [] };
  port: number | undefined;
  watched = false;
  readonly #listener: ProxyListener;
  readonly #now: () => number;
  #answers = 0;

  constructor(listener: ProxyListener, port: number, now: () => number) {
    this.#listener = listener;
    this.#now = now;
    this.port = port;
    listener.connected(port, []);
  }

  replace(endpoints: readonly EndpointNames[], grants: NameGrants): void {
    this.endpoints.clear();
    this.change({ endpoints, grants });
  }

  change({ endpoints = [], removed = [], grants }: RulesChange): void {
    for (const each of endpoints) this.endpoints.set(each.endpoint, each);
    for (const id of removed) this.endpoints.delete(id);
    if (grants !== undefined) this.grants = grants;
  }

  forget(): void {
    // Every answer is told.
  }

  watch(queries: boolean): void {
    this.watched = queries;
  }

  /** Tells of a query that it let through, or of its answer. */
  tell(endpoint: number, kind: 'query' | 'answer'): void {
    this.#listener.queries(
      [
        {
          ...{
            time: this.#now(),
            endpoint,
            kind,
            verdict: 'forwarded',
            protocol: 17,
            name: 'www.cilium.io.',
            type: 28,
          },
          ...{ client: '10.0.0.2', clientPort: 4000, server: '10.0.0.3', serverPort: 53, serverIdentity: 257 },
          ...(kind === 'answer' && { rcode: 0, ttl: 5, addresses: ['2001:db8::1'], aliases: [], milliseconds: 3 }),
        },
      ],
      0,
    );
  }

  count(counters: Partial<ProxyCounters>): void {
    const time = { sum: 0.5, counts: [1, 2, ...new Array<number>(TIME_BUCKETS.length - 1).fill(0)] };
    const times = {
      ...{ policyCheck: time, upstream: time, semaphore: time, policyGeneration: time },
      ...{ dataplane: time, processing: time, total: time },
    };
    const none = { received: 0, forwarded: 0, denied: 0, parseErrors: 0, timeouts: 0, overloaded: 0 };
    this.#listener.counters({
      ...none,
      ...{ started: 1, deadlinesMissed: 0, unsolicited: 0, granted: 0 },
      times,
      ...counters,
    });
  }

  learn(endpoint: number, name: string, addresses: readonly string[], ttl = 60): Promise<LearnTimes> | undefined {
    return this.#listener.learned({
      ...{ id: ++this.#answers, endpoint, name, aliases: [], addresses, ttl, time: this.#now() },
      ...{ waiting: true, server: '10.0.0.9', port: 53 },
    } satisfies LearnedAnswer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It holds nothing.
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  return port;
}

/** DNS to pods labelled `app: dns`, and these egress rules besides. */
const POLICY = (egress: string, name = 'web', app = 'web'): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: ${name}, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: ${app}}}
  egress:
  - toEndpoints: [{matchLabels: {app: dns}}]
    toPorts: [{ports: [{port: "53", protocol: ANY}], rules: {dns: [{matchPattern: "*"}]}}]
${egress}
`;

const NAMES = '  - toFQDNs: [{matchPattern: "*.cilium.io"}]';

describe('names', () => {
  let bench: AgentBench;
  let clock: ManualClock;
  let proxy: FakeProxy;
  let web: number;
  /** What the node's resolver knows, and what it was asked. */
  const world = new Map<string, PolledAnswer>();
  const asked: string[] = [];

  const start = async (...flags: readonly string[]): Promise<void> => {
    await bench.start(
      {
        clock,
        resolveName: (name) => {
          asked.push(name);
          const answer = world.get(name);
          return answer === undefined ? Promise.reject(new Error('no server')) : Promise.resolve(answer);
        },
        startDnsProxy: (listener, port) => {
          proxy = new FakeProxy(listener, port === 0 ? 40_053 : port, () => clock.now());
          return Promise.resolve(proxy);
        },
      },
      ...flags,
    );
  };
  const allowed = async (): Promise<readonly number[]> => {
    const endpoint = await bench.api.endpoint('pod-name:default/web');
    return endpoint.status?.policy?.realized?.['allowed-egress-identities'] ?? [];
  };
  const opens = async (address: string): Promise<boolean> => {
    const identity = bench.kernel.identityAt(address);
    return identity !== undefined && identity >= 1 << 24 && (await allowed()).includes(identity);
  };
  /** Keys of the endpoint's policy map that divert to a proxy, with its port. */
  const diverted = (): readonly string[] =>
    [...(bench.kernel.endpoints.installed.values().next().value?.policy ?? [])]
      .filter(([, { proxyPort }]) => proxyPort !== 0)
      .map(([key, { proxyPort, deny }]) => `${key} ${deny ? 'deny' : proxyPort}`);
  const apply = async (text: string, file = 'policy.yaml'): Promise<void> => {
    const { revision } = await bench.api.policy();
    bench.manifest(file, text);
    await until('the policy', async () => (await bench.api.policy()).revision! > revision!);
    await settle();
  };
  /** Everything that needs no time has happened. */
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) await clock.advance(0);
  };

  beforeEach(async () => {
    bench = new AgentBench();
    world.clear();
    asked.length = 0;
    clock = new ManualClock(1_700_000_000_000);
    bench.manifest('pods.yaml', [POD('web'), POD('dns'), POD('db')].join('---\n'));
    bench.manifest('policy.yaml', POLICY(NAMES));
    await start();
    web = (await bench.add('web')).id!;
    await bench.add('dns');
  });
  afterEach(async () => {
    await bench[Symbol.asyncDispose]();
  });

  test('the proxy knows whom an endpoint may ask for what, before its traffic is diverted', async () => {
    const told = proxy.endpoints.get(web)!;
    assert.deepEqual(told.addresses, ['10.0.0.2', 'fd00::2']);
    const dns = (await bench.api.endpoint('pod-name:default/dns')).status!.identity!.id!;
    await until('the server', () => proxy.endpoints.get(web)?.rules[0]?.peers?.[0] === dns);
    const rules = proxy.endpoints.get(web)!.rules.map(({ names: _, ...rest }) => rest);
    assert.ok(rules.some(({ protocol, port }) => protocol === 17 && port === 53));
    assert.ok(diverted().includes(`egress/${dns}/17/53/16 40053`), diverted().join());
    assert.equal(proxy.endpoints.size, 1, 'the server itself asks nobody');
    const { proxy: status } = await bench.api.health();
    assert.deepEqual([status?.['port-range'], status?.['total-redirects']], ['40053-40053', rules.length]);
    await apply(POLICY('').replace('"*"', '"*.cilium.io"'));
    await until('the names', () => JSON.stringify(proxy.endpoints.get(web)?.rules).includes('*.cilium.io'));
    await bench.api.deleteContainer('c-web');
    await settle();
    assert.equal(proxy.endpoints.size, 0);
  });

  test('an answer opens its addresses before it is let go, by one identity for all of them', async () => {
    const identities = (await bench.api.identities()).length;
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1', '198.51.100.2', '2001:db8::1']);
    assert.ok(await opens('198.51.100.1/32'));
    assert.ok(await opens('2001:db8::1/128'));
    assert.equal(bench.kernel.identityAt('198.51.100.1/32'), bench.kernel.identityAt('198.51.100.2/32'));
    assert.equal((await bench.api.identities()).length, identities, 'made ready with the policy');
    const { labels } = await bench.api.identity(bench.kernel.identityAt('198.51.100.1/32')!);
    assert.deepEqual(labels, ['fqdn:*.cilium.io', 'reserved:world-ipv4']);
    assert.equal(proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']), undefined, 'known already: no delay');
    assert.equal(proxy.learn(web, 'example.com.', ['198.51.100.9']), undefined, 'selected by nothing');
    assert.equal(bench.kernel.identityAt('198.51.100.9/32'), undefined);
  });

  test('no address gets an identity in the kernel before every policy map knows it', async () => {
    await apply(POLICY('  - toFQDNs: [{matchName: www.cilium.io}, {matchPattern: "*.cilium.io"}]'));
    await until('the selectors', () => proxy.grants.selectors.length === 2);
    const release = bench.holdPolicies();
    // Both selectors at once: an identity that nobody has had before.
    const held = proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']);
    const other = proxy.learn(web, 'docs.cilium.io.', ['198.51.100.2']);
    await other;
    assert.ok(await opens('198.51.100.2/32'), 'is not held up');
    let done = false;
    void held!.then(() => (done = true));
    const { calls } = bench.kernel.endpoints;
    await until('the policy map to be told', () => calls.at(-1) === `updatePolicy ${web}`);
    const same = proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']);
    assert.ok(same, 'on its way is not there yet');
    for (let turn = 0; turn < 500; turn++) await settle();
    assert.equal(bench.kernel.identityAt('198.51.100.1/32'), undefined);
    assert.equal(done, false);
    release();
    await Promise.all([held, same]);
    assert.ok(await opens('198.51.100.1/32'));
  });

  test('a pattern that comes later selects what was learned before, one that goes lets it go', async () => {
    await proxy.learn(web, 'api.example.com.', ['198.51.100.7']);
    await apply(POLICY('  - toFQDNs: [{matchPattern: "api.*.com"}]'));
    await until('the address', () => opens('198.51.100.7/32'));
    await apply(POLICY('  - toFQDNs: [{matchName: other.example.com}]'));
    await until('no address', () => bench.kernel.identityAt('198.51.100.7/32') === undefined);
  });

  test('an address goes on matching the CIDRs that policies name', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']);
    const before = bench.kernel.identityAt('198.51.100.1/32')!;
    await apply(
      POLICY('  - toCIDRSet: [{cidr: 198.51.100.0/24, except: [198.51.100.128/25]}]', 'cidr', 'db'),
      'cidr.yaml',
    );
    await until('another identity', () => bench.kernel.identityAt('198.51.100.1/32') !== before);
    await proxy.learn(web, 'docs.cilium.io.', ['198.51.100.200', '198.51.100.0']);
    const labelsOf = async (prefix: string) => (await bench.api.identity(bench.kernel.identityAt(prefix)!)).labels;
    const labels = (cidr: string) => ['fqdn:*.cilium.io', `cidr:${cidr}`, 'reserved:world-ipv4'];
    assert.deepEqual(await labelsOf('198.51.100.1/32'), labels('198.51.100.0/24'));
    assert.deepEqual(await labelsOf('198.51.100.200/32'), labels('198.51.100.128/25'));
    assert.ok(await opens('198.51.100.1/32'));
    await bench.add('db');
    const db = await bench.api.endpoint('pod-name:default/db');
    const ofDb = db.status?.policy?.realized?.['allowed-egress-identities'] ?? [];
    assert.ok(ofDb.includes(bench.kernel.identityAt('198.51.100.1/32')!));
    assert.ok(!ofDb.includes(bench.kernel.identityAt('198.51.100.200/32')!));
    await apply(POLICY('', 'cidr', 'db'), 'cidr.yaml');
    await until('the first identity', () => bench.kernel.identityAt('198.51.100.1/32') === before);
  });

  test('the address of a pod or a node is nobody else’s, whatever an answer says (S22)', async () => {
    const dns = bench.kernel.identityAt('10.0.0.3/32');
    void proxy.learn(web, 'evil.cilium.io.', [
      '10.0.0.3',
      '10.0.0.1',
      '127.0.0.1',
      '::1',
      '169.254.169.254',
      'fe80::1',
    ]);
    await settle();
    assert.equal(bench.kernel.identityAt('10.0.0.3/32'), dns);
    assert.equal(bench.kernel.identityAt('10.0.0.1/32'), 1);
    for (const text of ['127.0.0.1/32', '::1/128', '169.254.169.254/32', 'fe80::1/128', 'fd00::77/128']) {
      assert.equal(bench.kernel.identityAt(text), undefined, text);
    }
    // Where pods come to live, no name opens anything before or after them.
    void proxy.learn(web, 'early.cilium.io.', ['10.0.0.4']);
    await settle();
    assert.equal(bench.kernel.identityAt('10.0.0.4/32'), undefined);
    const db = await bench.add('db');
    await settle();
    assert.equal(bench.kernel.identityAt('10.0.0.4/32'), db.status!.identity!.id);
    await bench.api.deleteContainer('c-db');
    await settle();
    assert.equal(bench.kernel.identityAt('10.0.0.4/32'), undefined);
  });

  test('an address past its TTL stays while a connection uses it, and goes with it (S31)', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1', '198.51.100.2'], 10);
    await clock.advance(20 * SECOND);
    bench.kernel.collect(clock.now(), '10.0.0.2>198.51.100.1', '10.0.0.9>198.51.100.2');
    await until('the unused one to go', () => bench.kernel.identityAt('198.51.100.2/32') === undefined);
    assert.ok(await opens('198.51.100.1/32'));
    await clock.advance(SECOND);
    bench.kernel.collect(clock.now());
    await until('the other to go', () => bench.kernel.identityAt('198.51.100.1/32') === undefined);
  });

  test('an endpoint takes what it learned with it', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']);
    await bench.api.deleteContainer('c-web');
    await until('the address to go', () => bench.kernel.identityAt('198.51.100.1/32') === undefined);
    assert.equal(proxy.learn(web, 'www.cilium.io.', ['198.51.100.1']), undefined, 'of an endpoint that is gone');
    assert.equal(bench.kernel.identityAt('198.51.100.1/32'), undefined);
  });

  test('what was learned outlives the agent, however it ends, and so does the proxy’s port', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1'], 10);
    void proxy.learn(web, 'www.cilium.io.', ['198.51.100.1'], 600);
    await proxy.learn(web, 'docs.cilium.io.', ['198.51.100.2'], 10);
    const identity = bench.kernel.identityAt('198.51.100.1/32');
    const divertedBefore = diverted();
    await clock.advance(2 * SECOND);
    const file = join(bench.dir, 'state', 'names.jsonl');
    const written = readFileSync(file, 'utf8');
    await bench.stop();
    // As a crash leaves it: a line cut off, and one that something else has spoiled.
    writeFileSync(file, `${written}nonsense\n{"endpoint":1,"na`);
    await clock.advance(20 * SECOND);
    const installs = bench.kernel.endpoints.calls.length;
    await start();
    assert.equal(bench.kernel.identityAt('198.51.100.1/32'), identity);
    assert.ok(bench.logged.some((line) => /1 lines cannot be read/.test(line)));
    await until('the endpoint', () => bench.kernel.endpoints.calls.slice(installs).includes(`install ${web}`));
    assert.deepEqual(diverted(), divertedBefore);
    await clock.advance(20 * SECOND);
    bench.kernel.collect(clock.now());
    await until('what ended meanwhile to go', () => bench.kernel.identityAt('198.51.100.2/32') === undefined);
    assert.ok(await opens('198.51.100.1/32'), 'its lease goes on');
  });

  test('ingress by name: the node asks, on the TTL, and again when nobody answers', async () => {
    const answer = (ttl: number, ...texts: string[]): PolledAnswer => {
      return { ttl, addresses: texts.map((text) => parseAddress(text)) };
    };
    world.set('partner.example.com.', answer(30, '198.51.100.1'));
    const ingress = '  ingress: [{fromFQDNs: [{matchName: Partner.example.com}]}]';
    await apply(POLICY(`${NAMES}\n${ingress}`));
    const admitted = async (prefix: string): Promise<boolean> => {
      const realized = (await bench.api.endpoint('pod-name:default/web')).status?.policy?.realized;
      const identity = bench.kernel.identityAt(prefix);
      return identity !== undefined && realized?.['allowed-ingress-identities']?.includes(identity) === true;
    };
    await until('the address', () => admitted('198.51.100.1/32'));
    assert.deepEqual((await bench.api.nameSelectors()).DNSPollNames, ['partner.example.com.']);
    await clock.advance(29 * SECOND);
    assert.deepEqual(asked, ['partner.example.com.']);
    world.set('partner.example.com.', answer(30, '198.51.100.2'));
    await clock.advance(SECOND);
    await until('the new address', () => admitted('198.51.100.2/32'));
    world.clear();
    await clock.advance(30 * SECOND);
    bench.kernel.collect(clock.now(), '10.0.0.2>198.51.100.1');
    await settle();
    assert.ok(await admitted('198.51.100.1/32'), 'a connection lives');
    await clock.advance(SECOND);
    bench.kernel.collect(clock.now());
    await until('the first address to go', () => bench.kernel.identityAt('198.51.100.1/32') === undefined);
    assert.ok(await admitted('198.51.100.2/32'), 'its lease goes on a while though nobody answers');
    assert.ok(bench.logged.some((line) => line.includes('cannot resolve partner.example.com.')));
    const times = asked.length;
    await clock.advance(20 * SECOND);
    assert.ok(asked.length > times);
    await apply(POLICY(NAMES));
    await settle();
    const last = asked.length;
    await clock.advance(3600 * SECOND);
    assert.equal(asked.length, last);
  });

  test('shows what was learned, forgets it when told to, and counts', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1', '2001:db8::1'], 30);
    await proxy.learn(web, 'docs.cilium.io.', ['198.51.100.2'], 10);
    void proxy.learn(web, 'example.com.', ['203.0.113.1'], 60);
    await clock.advance(15 * SECOND);
    const shown = (await bench.api.names()).map(({ fqdn, ips, ttl, source }) => [fqdn, ips?.join(), ttl, source]);
    assert.deepEqual(shown, [
      ['docs.cilium.io.', '198.51.100.2', 0, 'connection'],
      ['example.com.', '203.0.113.1', 45, 'lookup'],
      ['www.cilium.io.', '198.51.100.1,2001:db8::1', 15, 'lookup'],
    ]);
    const names = async (...query: Parameters<typeof bench.api.names>) =>
      (await bench.api.names(...query)).map(({ fqdn }) => fqdn);
    assert.deepEqual(await names({ matchpattern: 'www.*.io' }), ['www.cilium.io.']);
    assert.deepEqual(await names({ source: 'connection' }, String(web)), ['docs.cilium.io.']);
    assert.deepEqual(await names({ cidr: '2001:db8::/32' }, 'pod-name:default/web'), ['www.cilium.io.']);
    await assert.rejects(names({}, '999'), { code: 'ENDPOINT_NOT_FOUND' });
    await assert.rejects(names({ matchpattern: 'a b' }), { code: 'REQUEST_INVALID', field: 'matchpattern' });
    assert.deepEqual((await bench.api.nameSelectors()).FQDNPolicySelectors, [
      { regexString: '^[-a-zA-Z0-9_]*[.]cilium[.]io[.]$', selectorString: 'MatchName: , MatchPattern: *.cilium.io' },
    ]);
    await bench.api.cleanNames('*.cilium.io');
    await clock.advance(SECOND);
    bench.kernel.collect(clock.now(), '10.0.0.2>198.51.100.2');
    await until('the address to go', () => bench.kernel.identityAt('198.51.100.1/32') === undefined);
    assert.deepEqual(await names(), ['docs.cilium.io.', 'example.com.']);
  });

  test('queries are events while somebody watches', async () => {
    const stop = new AbortController();
    const heard = bench.api.monitor(stop.signal)[Symbol.asyncIterator]();
    const first = heard.next();
    await until('a listener', () => proxy.watched);
    proxy.tell(web, 'query');
    proxy.tell(web, 'answer');
    const { value: query } = await first;
    const { value: answer } = await heard.next();
    assert.deepEqual([query?.type, query?.verdict, query?.source.pod], ['l7', 'forwarded', 'default/web']);
    assert.deepEqual(query?.dns, { kind: 'request', query: 'www.cilium.io.', qtype: 'AAAA' });
    assert.deepEqual(
      [answer?.source.pod, answer?.dns?.rcode, answer?.dns?.ips],
      ['default/dns', 'NOERROR', ['2001:db8::1']],
    );
    await heard.return(undefined);
    await until('nobody listens', () => {
      proxy.tell(web, 'query');
      return !proxy.watched;
    });
  });

  test('counts are shown under the names that dashboards know', async () => {
    const port = await freePort();
    await bench.stop();
    await start('--metrics-listen', `127.0.0.1:${port}`);
    await until('the endpoint', () => proxy.endpoints.has(web));
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1', '2001:db8::1'], 10);
    void proxy.learn(web, 'example.com.', ['203.0.113.1'], 60);
    await clock.advance(20 * SECOND);
    proxy.count({ received: 7, denied: 2 });
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    for (const line of [
      `cilium_fqdn_active_names{endpoint="${web}"} 1`,
      `cilium_fqdn_active_ips{endpoint="${web}"} 1`,
      `cilium_fqdn_alive_zombie_connections{endpoint="${web}"} 2`,
      'cilium_fqdn_selectors 1',
      'cilium_fqdn_gc_deletions_total 0',
      'cilium_policy_l7_total{rule="received",proxy_type="fqdn"} 7',
      'cilium_policy_l7_total{rule="denied",proxy_type="fqdn"} 2',
      'cilium_proxy_upstream_reply_seconds_bucket{protocol_l7="dns",scope="upstreamTime",le="0.0001"} 3',
      'cilium_proxy_upstream_reply_seconds_count{protocol_l7="dns",scope="totalTime"} 3',
    ]) {
      assert.ok(text.includes(`${line}\n`), line);
    }
    bench.kernel.collect(clock.now());
    await until('the name to go', async () => {
      const now = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return now.includes('cilium_fqdn_gc_deletions_total 1\n');
    });
  });

  test('the proxy may give addresses the identities of their names while no agent runs', async () => {
    await proxy.learn(web, 'www.cilium.io.', ['198.51.100.1', '2001:db8::1']);
    assert.deepEqual(proxy.grants.selectors, ['*.cilium.io']);
    const granted = proxy.grants.identities.map(({ selectors, family, identity }) => [...selectors, family, identity]);
    assert.deepEqual(granted.toSorted(), [
      ['*.cilium.io', 4, bench.kernel.identityAt('198.51.100.1/32')],
      ['*.cilium.io', 6, bench.kernel.identityAt('2001:db8::1/128')],
    ]);
  });
});
