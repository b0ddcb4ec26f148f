/** The DNS proxy and its interception, with real servers and clients. The test is the agent: it says rules and hears answers. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openProcessProxy } from '../../dns-proxy/agent-link.ts';
import type { DnsProxy, LearnedAnswer, LearnTimes, ProxyListener } from '../../dns-proxy/contract.ts';
import { DEFAULT_SETTINGS } from '../../dns-proxy/worker-settings.ts';
import { WiredNode, WORLD, WORLD_IDENTITY, type WiredPod } from '../datapath/wired-node.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { start, stop, tryRun } from '../harness/exec.ts';
import { dist } from '../harness/node.ts';
import { uniqueName } from '../harness/run.ts';
import { waitFor } from '../harness/wait.ts';

const POD = { id: 61, identity: 1061, ipv4: '10.0.0.61', ipv6: 'fd00::61' } as const;
const ZONE = 'example.com.';
const RECORDS = [
  'www.example.com. 60 A 198.51.100.1',
  'www.example.com. 60 AAAA 2001:db8:5::1',
  'alias.example.com. 30 CNAME www.example.com.',
  'other.example.com. 60 A 198.51.100.2',
  'note.example.com. 60 TXT "a text"',
  ...Array.from({ length: 120 }, (_, i) => `many.example.com. 60 A 198.51.100.${i + 1}`),
];

/** The agent's side: what it was told. */
class Agent implements ProxyListener {
  readonly answers: LearnedAnswer[] = [];
  port = 0;
  backlog: readonly LearnedAnswer[] = [];
  losses = 0;
  /** What learning does. */
  learning: (answer: LearnedAnswer) => Promise<LearnTimes> | undefined = () => undefined;
  connected(port: number, backlog: readonly LearnedAnswer[]): void {
    this.port = port;
    this.backlog = backlog;
  }
  lost(): void {
    this.losses++;
  }
  learned(answer: LearnedAnswer): Promise<LearnTimes> | undefined {
    this.answers.push(answer);
    return this.learning(answer);
  }
  queries = (): void => undefined;
  counters = (): void => undefined;
}

const stack = new AsyncDisposableStack();
let wired: WiredNode;
let pod: WiredPod;
let proxy: DnsProxy;
const agent = new Agent();

before(async () => {
  wired = stack.use(await WiredNode.start());
  const { host } = wired;
  for (const family of ['-4', '-6']) {
    host.ip(`${family} route add local default dev lo table 2204`);
    host.ip(`${family} rule add priority 9 fwmark 0x200/0xf00 table 2204`);
  }
  pod = wired.addPod(POD);
  const addresses = Object.values(WORLD);
  stack.use(await DnsServerProcess.start(wired.world, { kind: 'unbound', zone: ZONE, records: RECORDS, addresses }));
  const dir = mkdtempSync(path.join(tmpdir(), `${uniqueName('dns')}-`));
  stack.defer(() => rmSync(dir, { recursive: true }));
  const socket = path.join(dir, 'proxy.sock');
  const child = start(
    [...host.enter, path.join(dist, 'weir-dns-proxy'), '--dns-proxy-socket', socket, '--bpf-root', wired.node.bpfRoot],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  stack.defer(() => stop(child));
  proxy = stack.use(
    await openProcessProxy({ settings: DEFAULT_SETTINGS, path: socket, onError: () => undefined }, agent),
  );
  await waitFor('the proxy', () => agent.port !== 0);
  const rules = [17, 6].map((protocol) => ({
    ...{ protocol, port: 53, endPort: 0, peers: [WORLD_IDENTITY.ipv4, WORLD_IDENTITY.ipv6] },
    names: [{ matchPattern: '*.example.com' }],
  }));
  const { id, identity, ipv4, ipv6 } = POD;
  proxy.replace([{ endpoint: id, identity, addresses: [ipv4, ipv6], rules }], { selectors: [], identities: [] });
  for (const protocol of [17, 6]) {
    wired.change(pod, 'allow', { direction: 'egress', protocol, port: 53, proxyPort: agent.port });
  }
});
after(() => stack.disposeAsync());

function dig(server: string, ...words: string[]): string {
  return tryRun([...pod.ns.enter, 'dig', `@${server}`, '+time=2', '+tries=1', ...words]).stdout;
}

for (const family of ['ipv4', 'ipv6'] as const) {
  describe(`a pod's DNS over ${family}`, () => {
    const server = WORLD[family];
    for (const protocol of ['+notcp', '+tcp']) {
      test(`${protocol}: an allowed name resolves, a refused one is REFUSED`, () => {
        assert.equal(dig(server, protocol, '+short', 'www.example.com'), '198.51.100.1\n');
        assert.match(dig(server, protocol, 'www.example.net'), /status: REFUSED/);
      });
    }
  });
}
