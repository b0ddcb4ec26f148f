/** The DNS proxy and its interception, with real servers and clients. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { WORLD, WORLD_IDENTITY, type WiredPod } from '../datapath/wired-node.ts';
import { DnsServerProcess, type ServerKind } from '../harness/dns-server.ts';
import { runAsync, tryRun } from '../harness/exec.ts';
import { waitFor } from '../harness/wait.ts';
import { dig, DnsScene } from './dns-scene.ts';

const ZONE = 'example.com.';
const RECORDS = [
  'www.example.com. 60 A 198.51.100.1',
  'www.example.com. 60 AAAA 2001:db8:5::1',
  'alias.example.com. 30 CNAME www.example.com.',
  'note.example.com. 60 TXT "a text"',
  ...Array.from({ length: 120 }, (_, i) => `many.example.com. 60 A 198.51.100.${i + 1}`),
];
const WORLDS = [WORLD_IDENTITY.ipv4, WORLD_IDENTITY.ipv6];
const NAMES = [{ matchPattern: '*.example.com' }];
const SERVERS: readonly { kind: ServerKind; port: number }[] = [
  { kind: 'unbound', port: 53 },
  { kind: 'dnsmasq', port: 5301 },
  { kind: 'knot', port: 5302 },
];

let scene: DnsScene;
let pod: WiredPod;

before(async () => {
  scene = await DnsScene.start();
  const { wired, stack } = scene;
  pod = wired.addPod({ id: 61, identity: 1061, ipv4: '10.0.0.61', ipv6: 'fd00::61' });
  const addresses = Object.values(WORLD);
  for (const { kind, port } of SERVERS) {
    stack.use(await DnsServerProcess.start(wired.world, { kind, port, zone: ZONE, records: RECORDS, addresses }));
  }
  scene.divert(
    pod,
    SERVERS.map(({ port }) => ({ port, peers: WORLDS, names: NAMES })),
  );
});
after(() => scene[Symbol.asyncDispose]());

for (const { kind, port } of SERVERS) {
  for (const family of ['ipv4', 'ipv6'] as const) {
    describe(`${kind} asked over ${family}`, () => {
      const ask = (...words: string[]): Promise<string> => dig(pod, WORLD[family], '-p', String(port), ...words);
      for (const protocol of ['+notcp', '+tcp']) {
        test(`${protocol}: an allowed name resolves, a refused one is REFUSED`, async () => {
          assert.equal(await ask(protocol, '+short', 'www.example.com'), '198.51.100.1\n');
          assert.equal(await ask(protocol, '+short', 'www.example.com', 'AAAA'), '2001:db8:5::1\n');
          assert.match(await ask(protocol, 'www.example.net'), /status: REFUSED/);
        });
      }

      test('aliases, other types and EDNS pass as they are', async () => {
        // unbound does not follow aliases of its own data.
        const address = kind === 'unbound' ? '' : '198.51.100.1\n';
        assert.equal(await ask('+short', 'alias.example.com'), `www.example.com.\n${address}`);
        assert.equal(await ask('+short', 'note.example.com', 'TXT'), '"a text"\n');
        assert.match(await ask('nothing.example.com'), /status: NXDOMAIN/);
        assert.match(await ask('+dnssec', 'www.example.com'), /EDNS: version: 0/);
        assert.match(await ask('+qid=4711', 'WWW.eXample.com'), /id: 4711[^]*WWW\.eXample\.com\./);
      });

      test('a large answer is truncated over UDP, and whole over TCP', async () => {
        const short = await ask('+noedns', '+ignore', 'many.example.com');
        assert.match(short, /flags: [a-z ]*\btc\b/);
        const whole = await ask('+noedns', '+short', 'many.example.com');
        assert.equal(whole.trimEnd().split('\n').length, 120);
      });
    });
  }
}

test('what an answer teaches reaches the agent', () => {
  const learned = scene.agent.answers.find(({ name }) => name === 'alias.example.com.');
  assert.deepEqual([learned?.aliases, learned?.addresses, learned?.ttl], [['www.example.com.'], ['198.51.100.1'], 30]);
  assert.equal(learned?.endpoint, pod.id);
  const many = scene.agent.answers.filter(({ name }) => name === 'many.example.com.').map((a) => a.addresses.length);
  assert.equal(Math.max(...many), 120);
  assert.ok(!scene.agent.answers.some(({ name }) => name === 'note.example.com.'));
});

describe('clients of other makes', () => {
  test('busybox', async () => {
    const { stdout } = await runAsync([...pod.ns.enter, 'busybox', 'nslookup', 'www.example.com', WORLD.ipv4]);
    assert.match(stdout, /198\.51\.100\.1/);
    assert.match(stdout, /2001:db8:5::1/);
  });

  test('glibc, which asks for both families at once from one port, and comes back over TCP', async () => {
    const file = path.join(scene.dir, 'resolv.conf');
    for (const options of ['', 'options use-vc\n']) {
      writeFileSync(file, `nameserver ${WORLD.ipv4}\n${options}`);
      const script = `mount --bind ${file} /etc/resolv.conf && getent ahosts www.example.com && getent ahostsv4 many.example.com`;
      const { stdout } = await runAsync([...pod.ns.enter, 'unshare', '-m', 'sh', '-c', script]);
      assert.match(stdout, /198\.51\.100\.1 /);
      assert.match(stdout, /2001:db8:5::1 /);
      assert.match(stdout, /198\.51\.100\.120 /);
    }
  });
});

describe('an answer with something new', () => {
  test('waits for the agent', async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    scene.proxy.forget();
    scene.agent.learning = async () => {
      await promise;
      return { mapsMs: 1 };
    };
    try {
      let answered = false;
      const asking = dig(pod, WORLD.ipv4, '+short', 'www.example.com').finally(() => (answered = true));
      await waitFor('the lesson', () => scene.agent.answers.at(-1)?.waiting === true);
      assert.equal(answered, false);
      resolve(undefined);
      assert.equal(await asking, '198.51.100.1\n');
      const lessons = scene.agent.answers.length;
      assert.equal(await dig(pod, WORLD.ipv4, '+short', 'www.example.com'), '198.51.100.1\n');
      assert.ok(
        scene.agent.answers.slice(lessons).every(({ waiting }) => !waiting),
        'nothing new does not wait',
      );
    } finally {
      scene.agent.learning = () => undefined;
    }
  });

  test('waits no longer than its deadline, which is counted', async () => {
    scene.proxy.forget();
    scene.agent.learning = () => new Promise(() => undefined);
    try {
      assert.equal(await dig(pod, WORLD.ipv4, '+short', 'www.example.com'), '198.51.100.1\n');
      await waitFor('the count', () => (scene.agent.counts?.deadlinesMissed ?? 0) > 0);
    } finally {
      scene.agent.learning = () => undefined;
    }
  });

  test('many at once keep their own answers', async () => {
    scene.proxy.forget();
    const text = ['www', 'alias', 'many'].map((name) => `${name}.example.com A`).join('\n');
    const file = path.join(scene.dir, 'queries');
    writeFileSync(file, `${Array.from({ length: 50 }, () => text).join('\n')}\n`);
    scene.agent.learning = () => new Promise((resolve) => setImmediate(() => resolve({})));
    const how = ['-s', WORLD.ipv4, '-d', file, '-n', '1', '-q', '100', '-t', '3'];
    const { stdout } = await runAsync([...pod.ns.enter, 'dnsperf', ...how]);
    assert.match(stdout, /Queries completed:\s+150 \(100\.00%\)/, stdout);
    scene.agent.learning = () => undefined;
  });
});

test('a local pod as server sees the pod that asks, not the host, and not another pod that asks by the same proxy', async () => {
  const { wired } = scene;
  const server = wired.addPod({ id: 62, identity: 1062, ipv4: '10.0.0.62', ipv6: 'fd00::62' });
  const stranger = wired.addPod({ id: 63, identity: 1063, ipv4: '10.0.0.63', ipv6: 'fd00::63' });
  const addresses = [server.ipv4, server.ipv6];
  scene.stack.use(await DnsServerProcess.start(server.ns, { kind: 'knot', zone: ZONE, records: RECORDS, addresses }));
  for (const asker of [pod, stranger]) scene.divert(asker, [{ port: 53, peers: [server.identity], names: NAMES }]);
  for (const protocol of [17, 6]) {
    wired.change(server, 'allow', { direction: 'ingress', identity: pod.identity, protocol, port: 53 });
  }
  for (const address of addresses) {
    for (const protocol of ['+notcp', '+tcp']) {
      const words = [protocol, '+short', 'www.example.com'] as const;
      assert.equal(await dig(pod, address, ...words), '198.51.100.1\n', `${protocol} ${address}`);
      assert.doesNotMatch(await dig(stranger, address, '+time=1', ...words), /198/, `${protocol} ${address}`);
      assert.equal(await dig(pod, address, ...words), '198.51.100.1\n', 'still');
    }
  }
  const direct = tryRun([...wired.host.enter, 'dig', `@${server.ipv4}`, '+time=1', '+tries=1', 'www.example.com']);
  assert.match(direct.stdout, /timed out|no servers/, 'the host itself is not admitted');
});

test('without a proxy what is diverted is dropped, with its reason; a proxy that comes back says what it knows', async () => {
  const dropped = async (): Promise<number> => (await scene.wired.node.counters())['egress DROP_NO_PROXY'] ?? 0;
  const before = await dropped();
  await scene.stopProxy();
  await waitFor('the loss', () => scene.agent.losses === 1);
  for (const protocol of ['+notcp', '+tcp']) {
    assert.doesNotMatch(await dig(pod, WORLD.ipv4, '+time=1', protocol, '+short', 'www.example.com'), /198/);
  }
  assert.ok((await dropped()) >= before + 2);
  scene.startProxy();
  await waitFor('the proxy again', () => scene.proxy.port === scene.agent.port);
  scene.divert(pod, [{ port: 53, peers: WORLDS, names: NAMES }]);
  assert.equal(await dig(pod, WORLD.ipv4, '+short', 'www.example.com'), '198.51.100.1\n');
  await waitFor('the lesson', () => scene.agent.answers.at(-1)?.name === 'www.example.com.');
  const { port } = scene.agent;
  await scene.meet({ reject: 'nameError' });
  assert.equal(scene.agent.port, port);
  assert.deepEqual(
    scene.agent.backlog.map(({ name, waiting }) => [name, waiting]),
    [['www.example.com.', false]],
  );
  assert.match(await dig(pod, WORLD.ipv4, 'www.example.net'), /status: NXDOMAIN/);
});
