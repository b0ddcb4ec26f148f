import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { run } from '../run.ts';
import { FakeAgent } from '../testing/fake-agent.ts';
import { MemoryTerminal } from '../testing/memory-terminal.ts';
import { writeBundle } from './bundle.ts';
import { redact, redactText } from './redact.ts';

const PLANTED = 'hunter2-hunter2';

test('no secret is left, and what is none stays', () => {
  const policy = {
    metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': PLANTED, note: 'kept' } },
    rules: {
      http: [
        {
          path: '/kept',
          headers: [`X-Token: ${PLANTED}`, 'X-Kept'],
          headerMatches: [{ name: 'X-Key', value: PLANTED, secret: { name: 'kept', namespace: 'kept' } }],
        },
      ],
    },
    password: PLANTED,
    environment: [`WEIR_KVSTORE_PASSWORD=${PLANTED}`, 'WEIR_NODE_NAME=kept'],
  };
  const nested = { policy: { policy: JSON.stringify([policy]) }, note: '{"no JSON": kept' };
  assert.equal(JSON.stringify(redact(nested)).match(/kept/gi)?.length, 7);
  assert.doesNotMatch(JSON.stringify(redact(nested)), new RegExp(PLANTED));
  const text = JSON.stringify(redact(policy));
  assert.doesNotMatch(text, new RegExp(PLANTED));
  assert.equal(text.match(/kept/gi)?.length, 6);
});

for (const secret of [
  `-----BEGIN EC PRIVATE KEY-----\n${PLANTED}\n-----END EC PRIVATE KEY-----`,
  `authorization: Bearer ${PLANTED}`,
  `https://user:${PLANTED}@etcd.example:2379`,
  `--token=${PLANTED}`,
]) {
  test(`text without ${secret.split(/[\n:=]/)[0]}`, () => {
    assert.doesNotMatch(redactText(`before ${secret} after`), new RegExp(PLANTED));
    assert.match(redactText(`before ${secret} after`), /^before .*after$/s);
  });
}

test('a part that cannot be had is told in the bundle, and keeps no other from it', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'weir-sysdump-'));
  try {
    const file = path.join(dir, 'x.tar.gz');
    const parts = [
      { path: 'a/good.txt', collect: () => Promise.resolve('x'.repeat(1000)) },
      { path: 'a/bad.txt', collect: () => Promise.reject(new Error(`no luck, token=${PLANTED}`)) },
      { path: 'b/empty.txt', collect: () => Promise.resolve('') },
    ];
    const outcome = await writeBundle(file, parts, { now: 0, onPart: () => undefined });
    assert.equal(outcome.written, 2);
    const tar = (...words: string[]): string => execFileSync('tar', [...words, '-zf', file], { encoding: 'utf8' });
    assert.deepEqual(tar('-t').trim().split('\n'), [
      'weir-sysdump/a/good.txt',
      'weir-sysdump/b/empty.txt',
      'weir-sysdump/failures.txt',
    ]);
    const all = execFileSync('tar', ['-xzOf', file], { encoding: 'utf8' });
    assert.equal(all, `${'x'.repeat(1000)}a/bad.txt: no luck, token=[left out]\n`);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await assert.rejects(writeBundle(file, [], { now: 0, onPart: () => undefined }), { code: 'EEXIST' });
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('the whole command: what the agent says is inside, a planted secret is not', async () => {
  await using agent = await FakeAgent.start();
  agent.status = { ...agent.status, cilium: { state: 'Ok', msg: `etcd at https://root:${PLANTED}@etcd:2379` } };
  const dir = mkdtempSync(path.join(tmpdir(), 'weir-sysdump-'));
  try {
    const file = path.join(dir, 'dump.tar.gz');
    const terminal = new MemoryTerminal();
    const code = await run(['--socket', agent.socket, 'sysdump', '--output-filename', file], terminal);
    // Not every machine has every tool: what is missing is told.
    assert.equal(code, /missing/.test(terminal.stdout.text) ? 1 : 0);
    assert.match(terminal.stderr.text, /^agent\/endpoints\.json$/m);
    const names = execFileSync('tar', ['-tzf', file], { encoding: 'utf8' });
    for (const name of ['agent/status.json', 'agent/policy.json', 'maps/weir_ct4.json', 'machine/uname.txt']) {
      assert.ok(names.includes(`weir-sysdump/${name}\n`), `${name} in ${names}`);
    }
    const all = execFileSync('tar', ['-xzOf', file], { encoding: 'utf8', maxBuffer: 1 << 28 });
    assert.match(all, /etcd at https:\/\/\[left out\]@etcd:2379/);
    assert.doesNotMatch(all, new RegExp(PLANTED));
  } finally {
    rmSync(dir, { recursive: true });
  }
});
