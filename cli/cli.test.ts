import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { run } from './run.ts';
import { FakeAgent } from './testing/fake-agent.ts';
import { MemoryTerminal } from './testing/memory-terminal.ts';
import { formatAnswer, parseSession } from './testing/session.ts';

const SESSION = path.join(import.meta.dirname, 'testing/session.txt');
const SOCKET = '/run/weir/weir.sock';

/** Runs a command line against `agent`; its socket reads as the default one in what is printed. */
async function weir(
  agent: Pick<FakeAgent, 'socket'>,
  words: readonly string[],
  terminal = new MemoryTerminal(),
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const code = await run(['--socket', agent.socket, ...words], terminal);
  const clean = (text: string): string => text.replaceAll(agent.socket, SOCKET);
  return { code, stdout: clean(terminal.stdout.text), stderr: clean(terminal.stderr.text) };
}

describe('a session, replayed', async () => {
  await using agent = await FakeAgent.start();
  const text = readFileSync(SESSION, 'utf8');
  let updated = text.slice(0, text.indexOf('$ weir'));
  for (const { line, words, answer } of parseSession(text)) {
    const { code, stdout, stderr } = await weir(agent, words);
    const got = formatAnswer(stdout, stderr, code);
    updated += `$ weir ${line}\n${got === '' ? '' : `${got}\n`}\n`;
    test(`weir ${line}`, () => assert.equal(got, answer));
  }
  // `WEIR_UPDATE_GOLDEN=1 node --test cli/cli.test.ts` writes what is printed now; read the difference before you commit it.
  if (process.env['WEIR_UPDATE_GOLDEN'] === '1') writeFileSync(SESSION, `${updated.trimEnd()}\n`);
});

describe('what changes the agent', () => {
  const cases: readonly (readonly [string[], string[]])[] = [
    [
      ['endpoint', 'delete', '42', 'pod-name:shop/client'],
      ['DELETE /v1/endpoint/42', 'DELETE /v1/endpoint/pod-name%3Ashop%2Fclient'],
    ],
    [['endpoint', 'regenerate', '42'], ['PATCH /v1/endpoint/42/config {}']],
    [
      ['endpoint', 'config', '42', 'PolicyAuditMode=Enabled'],
      ['PATCH /v1/endpoint/42/config {"options":{"PolicyAuditMode":"Enabled"}}'],
    ],
    [
      ['endpoint', 'labels', '42', '-a', 'own:a=b', '-d', 'own:tier=front'],
      ['PATCH /v1/endpoint/42/labels {"user":["own:a=b"]}'],
    ],
    [['config', 'Debug=Enabled'], ['PATCH /v1/config {"options":{"Debug":"Enabled"}}']],
    [['config', 'PolicyEnforcement=always'], ['PATCH /v1/config {"policy-enforcement":"always"}']],
    [
      ['bpf', 'ct', 'flush'],
      ['DELETE /v1/map/weir_ct4', 'DELETE /v1/map/weir_ct6'],
    ],
    [['bpf', 'nat', 'flush'], ['DELETE /v1/map/weir_nat']],
  ];
  for (const [words, changes] of cases) {
    test(words.join(' '), async () => {
      await using agent = await FakeAgent.start();
      const { code, stderr } = await weir(agent, words);
      assert.equal(code, 0, stderr);
      assert.deepEqual(agent.changes, changes);
    });
  }

  test('a fault in the middle names what was not done', async () => {
    await using agent = await FakeAgent.start();
    const { code, stdout, stderr } = await weir(agent, ['endpoint', 'delete', '42', '7']);
    assert.equal(code, 1);
    assert.equal(stdout, 'Endpoint 42 successfully deleted\n');
    assert.match(stderr, /endpoint 7: there is no endpoint 7/);
  });
});

describe('the agent', () => {
  test('that is not there is a clear message and exit code 3', async () => {
    const { code, stdout, stderr } = await weir({ socket: '/nonexistent/weir.sock' }, ['endpoint', 'list']);
    assert.equal(code, 3);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /^Error: .*\nIs the agent running, and is \/run\/weir\/weir\.sock its socket\?\nName another with --socket or WEIR_SOCKET\.\n$/,
    );
  });

  test('is found by WEIR_SOCKET, and the flag wins', async () => {
    await using agent = await FakeAgent.start();
    const terminal = new MemoryTerminal();
    terminal.env['WEIR_SOCKET'] = agent.socket;
    assert.equal(await run(['policy', 'get'], terminal), 0);
    assert.equal(await run(['policy', 'get', '--socket', '/nonexistent/weir.sock'], terminal), 3);
  });

  test('that is well makes status succeed', async () => {
    await using agent = await FakeAgent.start();
    agent.status = { cilium: { state: 'Ok', msg: 'OK' } };
    assert.deepEqual(await weir(agent, ['status', '--brief']), { code: 0, stdout: 'OK\n', stderr: '' });
    assert.equal(agent.briefly, true, 'the whole status is dear on a node of a large cluster');
    agent.status = { cilium: { state: 'Failure', msg: 'the kernel has no TCX' } };
    const failed = await weir(agent, ['status', '--brief']);
    assert.deepEqual(failed, { code: 1, stdout: 'error in weir: the kernel has no TCX\n', stderr: '' });
  });

  test('version works without one', async () => {
    const { code, stdout } = await weir({ socket: '/nonexistent/weir.sock' }, ['version']);
    assert.equal(code, 0);
    assert.match(stdout, /^Client: .*\nDaemon: unknown \(.*\)\n$/);
  });
});

describe('monitor', () => {
  test('ends well when it is interrupted', async () => {
    await using agent = await FakeAgent.start();
    agent.monitor = { ...agent.monitor, open: true };
    const terminal = new MemoryTerminal();
    terminal.stdout.onWrite = () => {
      if (terminal.stdout.text.includes('Invalid source ip')) terminal.interrupt();
    };
    const { code, stderr } = await weir(agent, ['monitor'], terminal);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  });

  test('prints one JSON object a line', async () => {
    await using agent = await FakeAgent.start();
    const { stdout } = await weir(agent, ['monitor', '-o', 'json', '--type', 'drop']);
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string });
    assert.deepEqual(
      events.map((event) => event.type),
      ['drop', 'drop'],
    );
  });
});

describe('colours', () => {
  const coloured = async (env: NodeJS.ProcessEnv, isTTY: boolean): Promise<boolean> => {
    await using agent = await FakeAgent.start();
    const terminal = new MemoryTerminal();
    terminal.stdout.isTTY = isTTY;
    Object.assign(terminal.env, env);
    const { stdout } = await weir(agent, ['endpoint', 'list'], terminal);
    return /\x1b\[32mready\x1b\[39m/.test(stdout);
  };
  test('only on a terminal', async () => {
    assert.equal(await coloured({}, true), true);
    assert.equal(await coloured({}, false), false);
  });
  test('never with NO_COLOR or a dumb terminal', async () => {
    assert.equal(await coloured({ NO_COLOR: '1' }, true), false);
    assert.equal(await coloured({ TERM: 'dumb' }, true), false);
    assert.equal(await coloured({ NO_COLOR: '' }, true), true);
  });
});
