import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../run.ts';
import { MemoryTerminal } from '../testing/memory-terminal.ts';

const GOOD = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny-all }
spec: { podSelector: {} }
`;

const SCENARIO = {
  name: 's',
  identities: [{ id: 1000, labels: ['k8s:app=web', 'k8s:io.kubernetes.pod.namespace=default'] }],
  policies: [
    { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'p' }, spec: { podSelector: {} } },
  ],
  subjects: [1000],
  ports: [{ proto: 'TCP', port: 80 }],
};

let directory = '';
before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'weir-policy-'));
});
after(() => rm(directory, { recursive: true }));

async function put(name: string, text: string): Promise<string> {
  const file = path.join(directory, name);
  await writeFile(file, text);
  return file;
}

async function weir(...words: string[]) {
  const terminal = new MemoryTerminal();
  const code = await run(['policy', ...words], terminal);
  return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

describe('weir policy validate', () => {
  test('exits with 0 for good files and 1 for bad ones, directories included', async () => {
    const good = await put('good.yaml', GOOD);
    assert.deepEqual(await weir('validate', good), { code: 0, stdout: '1 of 1 policies valid\n', stderr: '' });
    await put('bad.yaml', GOOD.replace('podSelector', 'podSelecter'));
    const both = await weir('validate', directory);
    assert.equal(both.code, 1);
    assert.match(both.stdout, /bad\.yaml:4:9: error: .*did you mean podSelector\?/);
  });

  test('prints the report as data', async () => {
    const good = await put('good.yaml', GOOD);
    const { stdout } = await weir('validate', '-o', 'json', good);
    assert.deepEqual(JSON.parse(stdout), { policies: { valid: 1, invalid: 0 }, findings: [] });
  });

  test('finds nothing, and says so', async () => {
    assert.equal((await weir('validate', await put('empty.yaml', '# nothing\n'))).code, 1);
    assert.match((await weir('validate', path.join(directory, 'absent.yaml'))).stderr, /absent\.yaml: ENOENT/);
  });
});

describe('weir policy evaluate', () => {
  test('prints an answer a line', async () => {
    const file = await put('s.jsonl', `${JSON.stringify({ scenario: SCENARIO })}\n\n`);
    const { stdout, code } = await weir('evaluate', file);
    assert.equal(code, 0);
    const answer = JSON.parse(stdout) as {
      subjects: { ingressEnforced: boolean; matrix: { ingress: { 'TCP/80': string } } }[];
    };
    assert.equal(answer.subjects[0]!.ingressEnforced, true);
    assert.equal(answer.subjects[0]!.matrix.ingress['TCP/80'].length, 11);
  });

  test('compares with the answers it finds', async () => {
    const { stdout } = await weir('evaluate', await put('s.jsonl', JSON.stringify({ scenario: SCENARIO })));
    const answer = JSON.parse(stdout) as { subjects: { ingressEnforced: boolean }[] };
    const agreed = await weir(
      'evaluate',
      '--check',
      await put('a.jsonl', JSON.stringify({ scenario: SCENARIO, answer })),
    );
    assert.deepEqual(agreed, { code: 0, stdout: '1 scenarios, 0 with mismatches, 0 mismatches\n', stderr: '' });
    answer.subjects[0]!.ingressEnforced = false;
    const differs = await weir(
      'evaluate',
      '--check',
      await put('b.jsonl', JSON.stringify({ scenario: SCENARIO, answer })),
    );
    assert.equal(differs.code, 1);
    assert.match(differs.stdout, /s subject 1000 ingress: expected enforced false, got enforced true/);
  });

  test('names the line that is no scenario', async () => {
    const { code, stderr } = await weir('evaluate', await put('x.jsonl', '\n{"scenario":{}}\n'));
    assert.equal(code, 1);
    assert.match(stderr, /x\.jsonl:2: the scenario has no list identities, policies, subjects, ports/);
  });
});
