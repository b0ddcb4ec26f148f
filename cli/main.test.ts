import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { EVENTS } from './testing/models.ts';
import { FakeAgent } from './testing/fake-agent.ts';

const MAIN = path.join(import.meta.dirname, 'main.ts');

function weir(...words: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function result(child: ChildProcess): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

test('the process reports by its exit code', async () => {
  const { code, stdout, stderr } = await result(weir('--socket', '/nonexistent/weir.sock', 'endpoint', 'list'));
  assert.equal(code, 3);
  assert.equal(stdout, '');
  assert.match(stderr, /Is the agent running, and is \/nonexistent\/weir\.sock its socket\?/);
  const help = await result(weir('endpoint', '--help'));
  assert.equal(help.code, 0);
  assert.match(help.stdout, /^Usage: weir endpoint/);
});

test('Ctrl-C ends a monitor well', async () => {
  await using agent = await FakeAgent.start();
  agent.monitor = { events: EVENTS, open: true };
  const child = weir('--socket', agent.socket, 'monitor');
  child.stdout!.once('data', () => child.kill('SIGINT'));
  const { code, stdout, stderr } = await result(child);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  assert.match(stdout, /^Policy verdict log: /);
});

test('a reader that leaves ends a monitor well', async () => {
  await using agent = await FakeAgent.start();
  // More than a pipe holds, so that the writer notices.
  agent.monitor = { events: Array.from({ length: 2000 }, () => EVENTS[0]!), open: true };
  const child = weir('--socket', agent.socket, 'monitor');
  child.stdout!.once('data', () => child.stdout!.destroy());
  const [stderr, [code]] = await Promise.all([text(child.stderr!), once(child, 'close') as Promise<[number | null]>]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});

test('a simple command loads no package but commander: it starts fast', async () => {
  const spy = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) {
      const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1];
      if (name !== undefined) process.stderr.write(name + '\\n');
      return next(url, context);
    } });`;
  const child = spawn(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(spy)}`, MAIN, 'version', '--client'],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const { code, stderr } = await result(child);
  assert.equal(code, 0);
  assert.deepEqual([...new Set(stderr.trim().split('\n'))], ['commander']);
});
