import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeAgent } from '../test/harness/fake-agent.ts';
import { nodeRuntime } from './node-runtime.ts';
import { run } from './commands/run.ts';
import type { Runtime } from './commands/runtime.ts';

const ID = 'cni-attachment-id:c1:eth0';
/** Real files and sockets; what tests script is replaced. */
const real = nodeRuntime();
const ENV = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' };

interface Outcome {
  readonly code: 0 | 1;
  readonly stdout: string;
  readonly json: Record<string, unknown>;
}

/** A folder with a place for the socket, and a way to run commands whose time passes only while they sleep. */
class Bed {
  readonly folder: string;
  readonly socket: string;
  /** Called before each sleep with the milliseconds that have passed. */
  onSleep: (passed: number) => void | Promise<void> = () => undefined;
  overrides: Partial<Runtime> = {};
  passed = 0;
  warnings = '';

  constructor(t: TestContext) {
    this.folder = mkdtempSync(path.join(tmpdir(), 'weir-cni-test-'));
    this.socket = path.join(this.folder, 'weir.sock');
    t.after(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  async agent(t: TestContext): Promise<FakeAgent> {
    const agent = await FakeAgent.listen(this.socket);
    t.after(() => agent[Symbol.asyncDispose]());
    return agent;
  }

  queue(): string[] {
    try {
      return readdirSync(path.join(this.folder, 'deleteQueue'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async run(
    command: string,
    config: Record<string, unknown> | string = {},
    env: Record<string, string> = ENV,
  ): Promise<Outcome> {
    let stdout = '';
    const base = { cniVersion: '1.0.0', name: 'weir', type: 'weir-cni', socket: this.socket, timeout: 5 };
    const runtime: Runtime = {
      ...real,
      env: { ...env, CNI_COMMAND: command },
      now: () => 1_700_000_000_000 + this.passed,
      sleep: async (ms) => {
        await this.onSleep(this.passed);
        this.passed += ms;
      },
      readInput: () => Promise.resolve(typeof config === 'string' ? config : JSON.stringify({ ...base, ...config })),
      write: (text) => void (stdout += text),
      warn: (text) => void (this.warnings += text),
      isTerminated: () => false,
      ...this.overrides,
    };
    const code = await run(runtime);
    const json = (stdout === '' ? {} : JSON.parse(stdout)) as Record<string, unknown>;
    return { code, stdout, json };
  }
}

const isError = (outcome: Outcome, code: number, text: RegExp): void => {
  assert.equal(outcome.code, 1, outcome.stdout);
  assert.equal(outcome.json['code'], code, outcome.stdout);
  assert.match(`${String(outcome.json['msg'])}\n${String(outcome.json['details'])}`, text);
};

const LIMITED = { runtimeConfig: { bandwidth: { egressRate: 1_000_000, egressBurst: 8000 } } };

test('ADD asks the agent once and answers with interfaces, addresses, routes and DNS', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  const config = { dns: { nameservers: ['10.0.0.53'] }, args: { labels: { app: 'web' } }, mtu: 1400, ...LIMITED };
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u1';
  const { code, json } = await bed.run('ADD', config, { ...ENV, CNI_ARGS: args });
  assert.equal(code, 0);
  assert.deepEqual(json, {
    cniVersion: '1.0.0',
    interfaces: [
      { name: 'wr1', mac: '02:00:00:00:01:00' },
      { name: 'eth0', mac: '02:00:00:00:02:00', sandbox: '/run/netns/x' },
    ],
    ips: [
      { address: '10.0.0.11/32', gateway: '10.0.0.1', interface: 1 },
      { address: 'fd00::11/128', gateway: 'fd00::1', interface: 1 },
    ],
    routes: [
      { dst: '10.0.0.1/32' },
      { dst: '0.0.0.0/0', gw: '10.0.0.1' },
      { dst: 'fd00::1/128' },
      { dst: '::/0', gw: 'fd00::1' },
    ],
    dns: { nameservers: ['10.0.0.53'] },
  });
  assert.deepEqual(agent.requests, [`PUT /v1/endpoint/${ID}`]);
  assert.deepEqual(agent.endpoints.get('c1:eth0')?.request, {
    'container-id': 'c1',
    'container-interface-name': 'eth0',
    'network-namespace-path': '/run/netns/x',
    'k8s-pod-name': 'web',
    'k8s-namespace': 'shop',
    'k8s-uid': 'u1',
    labels: ['k8s:app=web'],
    mtu: 1400,
    bandwidth: { egress: { 'bits-per-second': 1_000_000, 'burst-bytes': 1000 } },
    'sync-build-endpoint': true,
  });
});

test('an answer of one family only is a result of that family', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  agent.describe = (endpoint) => {
    const networking = endpoint.status!.networking!;
    return {
      ...endpoint,
      status: { ...endpoint.status, networking: { ...networking, addressing: [{ ipv6: 'fd00::5' }] } },
    };
  };
  const { json } = await bed.run('ADD');
  assert.deepEqual(json['ips'], [{ address: 'fd00::5/128', gateway: 'fd00::1', interface: 1 }]);
  assert.deepEqual(json['routes'], [{ dst: 'fd00::1/128' }, { dst: '::/0', gw: 'fd00::1' }]);
});

test('ADD waits for an agent that starts', async (t) => {
  const bed = new Bed(t);
  let agent: FakeAgent | undefined;
  bed.onSleep = async (passed) => {
    if (passed < 1000 || agent !== undefined) return;
    agent = await bed.agent(t);
    agent.refuse('AGENT_STARTING', 2);
  };
  const { code, stdout } = await bed.run('ADD');
  assert.equal(code, 0, stdout);
  assert.equal(agent?.requests.length, 3);
});

test('ADD without an agent fails at its deadline, says to try again, and queues nothing', async (t) => {
  const bed = new Bed(t);
  isError(
    await bed.run('ADD'),
    11,
    /cannot reach weir-agent at .*weir\.sock: the socket does not exist\nAGENT_UNREACHABLE/,
  );
  assert.ok(bed.passed > 4000 && bed.passed <= 5000, String(bed.passed));
  assert.deepEqual(bed.queue(), []);
});

test('ADD survives an agent that is killed while it works: the next one replaces what it left', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  agent.scripts.push((request) => request.socket.destroy());
  const { code } = await bed.run('ADD');
  assert.equal(code, 0);
  assert.deepEqual(agent.requests, [`PUT /v1/endpoint/${ID}`, `PUT /v1/endpoint/${ID}`]);
});

test('ADD whose agent is killed and does not come back queues the removal', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  agent.scripts.push(() => void agent.kill());
  isError(await bed.run('ADD'), 11, /AGENT_/);
  assert.deepEqual(bed.queue(), ['c1_eth0.json']);
});

test('a refused ADD tells the agent’s reason and removes what may stand', async (t) => {
  for (const [fault, code] of [
    ['IPAM_EXHAUSTED', 102],
    ['NETNS_NOT_FOUND', 4],
    ['LABELS_INVALID', 7],
    ['BPF_LOAD_FAILED', 100],
    ['STATE_WRITE_FAILED', 5],
  ] as const) {
    const bed = new Bed(t);
    const agent = await bed.agent(t);
    agent.refuse(fault, 1, { object: 'node n1', remedy: 'do that' });
    isError(await bed.run('ADD'), code, new RegExp(`node n1: scripted ${fault}\n${fault}: do that`));
    assert.deepEqual(agent.requests, [`PUT /v1/endpoint/${ID}`, `DELETE /v1/endpoint/${ID}`]);
    await agent.kill();
  }
});

test('an answer that cannot be used fails the ADD and removes the endpoint', async (t) => {
  for (const [answer, why] of [
    [{ id: 1 }, /lacks status\.networking\n/],
    [{ id: 1, status: { networking: {} } }, /lacks status\.networking\.addressing/],
    [{ id: 1, status: { networking: { addressing: [{ ipv4: '10.0.0.2' }] } } }, /lacks .*host-addressing\.ipv4\.ip/],
  ] as const) {
    const bed = new Bed(t);
    const agent = await bed.agent(t);
    agent.describe = () => answer;
    isError(await bed.run('ADD'), 100, why);
    assert.equal(agent.endpoints.size, 0);
    await agent.kill();
  }
});

test('a result that nobody reads fails the ADD and removes the endpoint', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  bed.overrides = {
    write: () => {
      throw new Error('EPIPE: broken pipe, write');
    },
  };
  const { code } = await bed.run('ADD');
  assert.equal(code, 1);
  assert.equal(agent.endpoints.size, 0);
  assert.match(bed.warnings, /"code":5.*EPIPE/);
});

test('an ADD that is asked to end removes the endpoint', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  bed.overrides = { isTerminated: () => agent.endpoints.size > 0 };
  isError(await bed.run('ADD'), 11, /asked to end/);
  assert.equal(agent.endpoints.size, 0);
});

test('when the removal fails too, both reasons are told', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  agent.refuse('BPF_LOAD_FAILED');
  agent.refuse('INTERNAL');
  isError(
    await bed.run('ADD'),
    100,
    /scripted BPF_LOAD_FAILED\n.*; removing the endpoint again failed too: scripted INTERNAL/,
  );
});

test('ADD takes back a removal that waits for an agent', async (t) => {
  const bed = new Bed(t);
  assert.equal((await bed.run('DEL')).code, 0);
  assert.deepEqual(bed.queue(), ['c1_eth0.json']);
  await bed.agent(t);
  assert.equal((await bed.run('ADD')).code, 0);
  assert.deepEqual(bed.queue(), []);
});

test('ADD refuses IPAM plugins, chaining and bad environments before it asks the agent', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  isError(await bed.run('ADD', { ipam: { type: 'host-local' } }), 2, /ipam\.type/);
  isError(await bed.run('ADD', { prevResult: {} }), 2, /prevResult/);
  isError(await bed.run('ADD', {}, { CNI_CONTAINERID: 'c1' }), 4, /CNI_NETNS, CNI_IFNAME/);
  isError(await bed.run('ADD', {}, { ...ENV, CNI_ARGS: 'X=1' }), 4, /CNI_ARGS/);
  isError(await bed.run('ADD', { cniVersion: '9.0.0' }), 1, /9\.0\.0/);
  isError(await bed.run('ADD', { dns: [] }), 7, /dns is \[\]/);
  isError(await bed.run('ADD', '{'), 6, /cannot decode/);
  isError(await bed.run('FLY'), 4, /CNI_COMMAND is "FLY"/);
  assert.deepEqual(agent.requests, []);
});

test('DEL is silent, idempotent, and needs neither namespace nor prevResult', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  await bed.run('ADD');
  for (let i = 0; i < 2; i++) {
    const { code, stdout } = await bed.run('DEL', {}, { ...ENV, CNI_NETNS: '' });
    assert.deepEqual([code, stdout], [0, '']);
  }
  assert.equal(agent.endpoints.size, 0);
  assert.equal((await bed.run('DEL', { prevResult: 'garbage', args: 7 })).code, 0);
  assert.deepEqual(bed.queue(), []);
});

test('DEL without an agent is queued at once, whole, and once', async (t) => {
  const bed = new Bed(t);
  for (let i = 0; i < 2; i++) assert.equal((await bed.run('DEL')).code, 0);
  assert.equal(bed.passed, 0);
  assert.deepEqual(bed.queue(), ['c1_eth0.json']);
  const text = readFileSync(path.join(bed.folder, 'deleteQueue/c1_eth0.json'), 'utf8');
  assert.deepEqual(JSON.parse(text), { 'container-id': 'c1', 'container-interface-name': 'eth0' });
});

test('DEL sees an agent that started while it queued: nothing stays in the queue', async (t) => {
  const bed = new Bed(t);
  let agent: FakeAgent | undefined;
  bed.overrides = {
    agent: (socket) => {
      const client = real.agent(socket);
      const deleteEndpoint = async (id: string, ms?: number): Promise<void> => {
        // The agent begins to listen after the first attempt, and has read the queue before the file was there.
        if (bed.queue().length > 0) agent ??= await bed.agent(t);
        await client.deleteEndpoint(id, ms);
      };
      return Object.assign(Object.create(client) as typeof client, { socket: client.socket, deleteEndpoint });
    },
  };
  assert.equal((await bed.run('DEL')).code, 0);
  assert.deepEqual(agent?.requests, [`DELETE /v1/endpoint/${ID}`]);
  assert.deepEqual(bed.queue(), []);
});

test('DEL waits for an agent that restores its state, and fails when it cannot be queued', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  agent.refuse('AGENT_STARTING', 3);
  assert.equal((await bed.run('DEL')).code, 0);
  assert.equal(agent.requests.length, 4);
  await agent.kill();
  const file = path.join(bed.folder, 'file');
  writeFileSync(file, '');
  isError(await bed.run('DEL', { 'delete-queue': path.join(file, 'queue') }), 5, /ENOTDIR/);
});

test('files of the queue have safe names that differ for different attachments', async (t) => {
  const bed = new Bed(t);
  for (const [CNI_CONTAINERID, CNI_IFNAME] of [
    ['a'.repeat(300), 'eth0'],
    [`${'a'.repeat(299)}b`, 'eth0'],
    ['c', 'ü'],
    ['c', 'ö'],
  ] as const) {
    assert.equal((await bed.run('DEL', {}, { CNI_CONTAINERID, CNI_IFNAME })).code, 0);
  }
  assert.equal(bed.queue().length, 4);
  for (const file of bed.queue()) assert.match(file, /^[a-zA-Z0-9_.-]{1,200}\.json$/);
});

test('CHECK accepts what ADD answered, in each version that has it', async (t) => {
  for (const cniVersion of ['0.4.0', '1.0.0', '1.1.0']) {
    const bed = new Bed(t);
    const agent = await bed.agent(t);
    const { json: prevResult } = await bed.run('ADD', { cniVersion });
    const { code, stdout } = await bed.run('CHECK', { cniVersion, prevResult });
    assert.deepEqual([code, stdout], [0, ''], stdout);
    await agent.kill();
  }
});

test('CHECK tells what differs from prevResult, and a pod that is gone or broken', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  const { json } = await bed.run('ADD');
  const result = json as { interfaces: Record<string, unknown>[]; ips: Record<string, unknown>[] };
  const check = (change: Record<string, unknown>): Promise<Outcome> =>
    bed.run('CHECK', { prevResult: { ...result, ...change } });
  isError(await check({ interfaces: [result.interfaces[0]], ips: [] }), 101, /lacks interface eth0 in \/run\/netns\/x/);
  isError(await check({ interfaces: [{ ...result.interfaces[0], mac: '02:ff' }, result.interfaces[1]] }), 101, /MAC/);
  isError(await check({ ips: [result.ips[0]] }), 101, /fd00::11\/128, which prevResult lacks/);
  isError(await check({ ips: [...result.ips, { address: '10.9.9.9/32', interface: 1 }] }), 101, /no longer has/);
  isError(await bed.run('CHECK'), 7, /prevResult is absent/);
  isError(await bed.run('CHECK', { cniVersion: '0.3.1', prevResult: result }), 1, /no command CHECK/);

  agent.endpointHealth = { overallHealth: 'Pending' };
  isError(await check({}), 11, /not built yet/);
  agent.endpointHealth = { overallHealth: 'Failure', connected: true };
  isError(await check({}), 101, /its health is Failure/);
  agent.endpointHealth = { overallHealth: 'OK', connected: false };
  isError(await check({}), 101, /interface is gone/);
  agent.endpoints.clear();
  isError(await check({}), 3, /no endpoint c1:eth0/);
});

test('STATUS is silent while the agent is well, and 50 with the reason while it is not', async (t) => {
  const bed = new Bed(t);
  const config = { cniVersion: '1.1.0' };
  isError(await bed.run('STATUS', config, {}), 50, /cannot reach weir-agent/);
  assert.equal(bed.passed, 0);
  const agent = await bed.agent(t);
  assert.deepEqual((await bed.run('STATUS', config, {})).stdout, '');
  agent.health = { cilium: { state: 'Failure', msg: 'no bpffs' } };
  isError(await bed.run('STATUS', config, {}), 50, /no bpffs/);
  agent.refuse('AGENT_STARTING');
  isError(await bed.run('STATUS', config, {}), 50, /AGENT_STARTING/);
  isError(await bed.run('STATUS', {}, {}), 1, /no command STATUS/);
});

test('GC deletes what the runtime no longer knows, and only that', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  for (const CNI_CONTAINERID of ['c1', 'c2', 'c3']) await bed.run('ADD', {}, { ...ENV, CNI_CONTAINERID });
  // The host's own endpoint has no attachment.
  agent.describe = (endpoint) => (endpoint.id === 3 ? { id: 3, status: { state: 'ready' } } : endpoint);
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] };
  assert.equal((await bed.run('GC', { cniVersion: '1.1.0', ...valid }, {})).code, 0);
  assert.deepEqual([...agent.endpoints.keys()], ['c2:eth0', 'c3:eth0']);
  isError(await bed.run('GC', { cniVersion: '1.1.0' }, {}), 7, /valid-attachments is absent/);
  assert.equal(agent.endpoints.size, 2);
});

test('GC goes on past an endpoint that cannot be deleted, then says so', async (t) => {
  const bed = new Bed(t);
  const agent = await bed.agent(t);
  for (const CNI_CONTAINERID of ['c1', 'c2', 'c3']) await bed.run('ADD', {}, { ...ENV, CNI_CONTAINERID });
  agent.scripts.push((_, response) => {
    agent.refuse('INTERNAL', 2);
    const ids = [...agent.endpoints.keys()].map((key) => ({
      status: { 'external-identifiers': { 'cni-attachment-id': key } },
    }));
    response.end(JSON.stringify(ids));
  });
  isError(await bed.run('GC', { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] }, {}), 100, /^2 endpoints/);
  assert.deepEqual([...agent.endpoints.keys()], ['c1:eth0', 'c2:eth0']);
});

test('VERSION repeats the version of its input, also one that is not supported, and takes no input', async (t) => {
  const bed = new Bed(t);
  const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'];
  for (const [input, cniVersion] of [
    ['{"cniVersion":"0.4.0"}', '0.4.0'],
    ['{"cniVersion":"2.0.0"}', '2.0.0'],
    ['', '1.1.0'],
  ] as const) {
    assert.deepEqual((await bed.run('VERSION', input, {})).json, { cniVersion, supportedVersions });
  }
  isError(await bed.run('VERSION', '{', {}), 6, /cannot decode/);
});

test('an error is told in the version of the configuration', async (t) => {
  const bed = new Bed(t);
  assert.equal((await bed.run('ADD', { cniVersion: '0.4.0' }, {})).json['cniVersion'], '0.4.0');
});

test('the log gets a line of JSON for each command; one that cannot be written fails nothing', async (t) => {
  const bed = new Bed(t);
  await bed.agent(t);
  const file = path.join(bed.folder, 'cni.log');
  await bed.run('ADD', { 'log-file': file });
  await bed.run('CHECK', { 'log-file': file });
  const lines = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    lines.map(({ level, command, container, code }) => [level, command, container, code]),
    [
      ['info', 'ADD', 'c1', undefined],
      ['error', 'CHECK', 'c1', 7],
    ],
  );
  assert.equal((await bed.run('DEL', { 'log-file': `${file}/x` })).code, 0);
  assert.match(bed.warnings, /cannot write .*cni\.log\/x/);
});
