/** The built executable, run as a runtime runs it: a copy far from the repository, in an environment of CNI's alone. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { copyFileSync, existsSync, linkSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { FakeAgent } from '../test/harness/fake-agent.ts';
import { dist } from '../test/harness/node.ts';
import { waitFor } from '../test/harness/wait.ts';

const built = path.join(dist, 'weir-cni');
assert.ok(existsSync(built), `${built} is missing: run npm run build`);

const folder = mkdtempSync(path.join(tmpdir(), 'weir-cni-exe-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const executable = path.join(folder, 'weir-cni');
copy(built, executable);

/** A link where that is possible: the file has 100 MB. */
function copy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    copyFileSync(from, to);
  }
}

const ENV = { CNI_CONTAINERID: 'f'.repeat(64), CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0', CNI_PATH: folder };

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly json: Record<string, unknown>;
}

function plugin(command: string | undefined, input: string, env: Record<string, string> = ENV): Promise<Outcome> {
  return new Promise((resolve) => {
    const variables = { ...env, ...(command !== undefined && { CNI_COMMAND: command }) };
    const child = execFile(executable, { cwd: '/', env: variables }, (_, stdout, stderr) => {
      const json = (stdout === '' ? {} : JSON.parse(stdout)) as Record<string, unknown>;
      resolve({ status: child.exitCode, stdout, stderr, json });
    });
    child.stdin!.on('error', () => child.stdin!.destroy()).end(input);
  });
}

let sockets = 0;
const socketPath = (): string => path.join(folder, `${++sockets}.d`, 'weir.sock');

const config = (socket: string, more: Record<string, unknown> = {}): string =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'weir', type: 'weir-cni', socket, timeout: 30, ...more });

async function agentAt(t: TestContext): Promise<FakeAgent> {
  const home = mkdtempSync(path.join(folder, 'agent-'));
  const agent = await FakeAgent.listen(path.join(home, 'weir.sock'));
  t.after(() => agent[Symbol.asyncDispose]());
  return agent;
}

test('VERSION negotiates', async () => {
  const { status, json, stderr } = await plugin('VERSION', '{"cniVersion":"0.4.0"}', {});
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(json, { cniVersion: '0.4.0', supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
});

test('bad input: an error with its code on stdout, exit code 1, and nothing on stderr', async () => {
  for (const [command, input, env, code] of [
    ['ADD', '{"cniVersion":', ENV, 6],
    ['ADD', '', ENV, 6],
    ['ADD', config('/x', { cniVersion: '3.0.0' }), ENV, 1],
    ['ADD', config('/x', { name: '' }), ENV, 7],
    ['ADD', config('/x'), {}, 4],
    ['ADD', config('/x'), { ...ENV, CNI_CONTAINERID: '../x' }, 4],
    ['JUMP', config('/x'), ENV, 4],
    [undefined, config('/x'), ENV, 4],
    ['CHECK', config('/x'), ENV, 7],
  ] as const) {
    const { status, json, stdout, stderr } = await plugin(command, input, env);
    assert.deepEqual([status, json['code'], stderr], [1, code, ''], stdout);
    assert.ok(String(json['msg']).length > 0 && String(json['details']).length > 0, stdout);
  }
});

test('ADD, CHECK and DEL against an agent', async (t) => {
  const agent = await agentAt(t);
  const added = await plugin('ADD', config(agent.socket));
  assert.equal(added.status, 0, added.stdout);
  assert.equal((added.json['ips'] as unknown[]).length, 2);
  const checked = await plugin('CHECK', config(agent.socket, { prevResult: added.json }));
  assert.deepEqual([checked.status, checked.stdout], [0, '']);
  const deleted = await plugin('DEL', config(agent.socket), { ...ENV, CNI_NETNS: '' });
  assert.deepEqual([deleted.status, deleted.stdout, agent.endpoints.size], [0, '', 0]);
});

test('no agent: ADD says to try again after its timeout, STATUS answers 50 at once, DEL is queued', async () => {
  const socket = socketPath();
  const started = Date.now();
  const added = await plugin('ADD', config(socket, { timeout: 1 }));
  assert.deepEqual([added.status, added.json['code']], [1, 11]);
  assert.ok(Date.now() - started >= 500);
  const status = await plugin('STATUS', config(socket, { cniVersion: '1.1.0', timeout: 1 }), { CNI_PATH: folder });
  assert.deepEqual([status.status, status.json['code']], [1, 50]);
  assert.equal((await plugin('DEL', config(socket, { timeout: 1 }))).status, 0);
  const queued = path.join(path.dirname(socket), 'deleteQueue', `${ENV.CNI_CONTAINERID}_eth0.json`);
  assert.deepEqual(JSON.parse(readFileSync(queued, 'utf8')), {
    'container-id': ENV.CNI_CONTAINERID,
    'container-interface-name': 'eth0',
  });
});

test('an agent that is killed in mid-ADD and does not return: an error, and the removal is queued', async (t) => {
  const agent = await agentAt(t);
  agent.scripts.push(() => void agent.kill());
  const { status, json } = await plugin('ADD', config(agent.socket, { timeout: 5 }));
  assert.deepEqual([status, json['code']], [1, 11]);
  assert.ok(existsSync(path.join(path.dirname(agent.socket), `deleteQueue/${ENV.CNI_CONTAINERID}_eth0.json`)));
});

test('a runtime that is gone when the result comes: the endpoint is removed', async (t) => {
  const agent = await agentAt(t);
  const child = spawn(executable, { env: { ...ENV, CNI_COMMAND: 'ADD' }, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdout.destroy();
  child.stdin.end(config(agent.socket));
  const status = await new Promise((resolve) => child.on('exit', resolve));
  assert.equal(status, 1);
  assert.equal(agent.endpoints.size, 0);
  assert.deepEqual(
    agent.requests.map((request) => request.split(' ')[0]),
    ['PUT', 'DELETE'],
  );
});

/** How often a process has gone to sleep. */
function wakeups(pid: number): number {
  return Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

test('SIGTERM during an ADD: the endpoint is removed before the process ends', async (t) => {
  const agent = await agentAt(t);
  const child = spawn(executable, { env: { ...ENV, CNI_COMMAND: 'ADD' }, stdio: ['pipe', 'pipe', 'inherit'] });
  agent.beforeAnswer = async () => {
    agent.beforeAnswer = () => Promise.resolve();
    const before = wakeups(child.pid!);
    child.kill('SIGTERM');
    // Awake for the signal, and asleep again: now its handler has run.
    await waitFor('the signal to be handled', () => wakeups(child.pid!) > before);
  };
  child.stdin.end(config(agent.socket));
  const stdout = Buffer.concat(await Array.fromAsync(child.stdout as AsyncIterable<Buffer>)).toString();
  assert.equal((JSON.parse(stdout) as { code: number }).code, 11, stdout);
  assert.equal(agent.endpoints.size, 0);
});
