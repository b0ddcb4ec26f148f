/** The README's five minutes, run word for word but for the names that must be the run's own. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { run, tryRun } from '../harness/exec.ts';
import { runName, uniqueName } from '../harness/run.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** Code blocks of a section, by language, in order. */
function blocks(markdown: string, section: string): { language: string; text: string }[] {
  const body = markdown.split(`## ${section}\n`)[1]?.split('\n## ')[0];
  assert.ok(body !== undefined, `README has no section ${section}`);
  return [...body.matchAll(/```(\w+)\n([\s\S]*?)```/g)].map((match) => ({ language: match[1]!, text: match[2]! }));
}

test('the tour of the README works as it is written', () => {
  const folder = mkdtempSync(path.join(tmpdir(), `${runName}-tour-`));
  const pins = `/sys/fs/bpf/${uniqueName('tour')}`;
  const own = (text: string): string =>
    text
      .replaceAll('/tmp/weir', folder)
      .replaceAll('/sys/fs/bpf/weir-tour', pins)
      .replaceAll('node1', `${runName}-node1`)
      .replaceAll(/\bnetns (add|del) \$pod/g, `netns $1 ${runName}-$pod`)
      .replaceAll('/run/netns/$pod', `/run/netns/${runName}-$pod`)
      .replace('npm run build\n', '')
      .replace('dist/weir monitor\n', '');
  const [start, manifest, add, look, remove, ...rest] = blocks(
    readFileSync(path.join(root, 'README.md'), 'utf8'),
    'Five minutes with Weir',
  );
  assert.deepEqual(
    [start, manifest, add, look, remove].map((block) => block?.language),
    ['sh', 'yaml', 'sh', 'sh', 'sh'],
  );
  assert.equal(rest.length, 0);

  const wait = `for i in $(seq 200); do [ -S ${folder}/weir.sock ] && dist/weir --socket ${folder}/weir.sock status >/dev/null 2>&1 && break; sleep 0.1; done`;
  const probe = `
client=$(ip -n ${runName}-server -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1)
nsenter --net=/run/netns/${runName}-client ping -c1 -W1 $client >/dev/null && echo PING-ALLOWED || echo PING-DENIED`;
  const yaml = path.join(folder, 'tour.draft');
  const script = [
    'set -eu',
    own(start!.text),
    `mkdir -p ${folder}/manifests; cp ${yaml} ${folder}/manifests/tour.yaml`,
    wait,
    own(add!.text),
    own(look!.text),
    probe,
    own(remove!.text),
  ].join('\n');
  mkdirSync(folder, { recursive: true });
  writeFileSync(yaml, manifest!.text);
  try {
    const { stdout, stderr, status } = tryRun(
      ['setpriv', '--pdeathsig', 'KILL', '--', 'bash', '-c', `cd ${root}\n${script}`],
      {
        timeoutMs: 120_000,
      },
    );
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    assert.match(stdout, /"ips"/, 'weir-cni printed a result');
    assert.match(stdout, /k8s:app=server/, 'the endpoint list shows labels');
    assert.match(stdout, /PING-DENIED/);
    assert.equal(tryRun(['ls', pins]).status, 2, 'no pins are left');
  } finally {
    for (const name of ['node1', 'client', 'server']) tryRun(['ip', 'netns', 'del', `${runName}-${name}`]);
    rmSync(folder, { recursive: true, force: true });
    run(['rm', '-rf', pins]);
  }
});
