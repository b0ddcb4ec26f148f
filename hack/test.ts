/**
 * `npm test`: runs the project's tests on Node's own runner and ends with a line `N passed, N failed`.
 *
 *   node hack/test.ts [--filter TEXT] [GROUP…]
 *
 * Groups run one after another; files of a group run in parallel where the group allows it. Test names are unique to a
 * run, so that runs never collide; what a killed run left behind is cleared first (test/harness/sweep.ts).
 */
import { globSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { sweep } from '../test/harness/sweep.ts';
import { reasonLines } from './failure.ts';

const root = path.resolve(import.meta.dirname, '..');

/** Of why a test failed, at the end. */
const FAILURE_LINES = 40;

interface Group {
  readonly name: string;
  readonly files: readonly string[];
  /** Groups whose tests wait more than they work have two files at a time; packets through one kernel's programs want it alone. */
  readonly concurrency: number;
  /** Files that take longest, which begin first: the others fill up beside them, and nothing long is left at the end. */
  readonly first?: readonly string[];
}

const GROUPS: readonly Group[] = [
  { name: 'checks', files: ['hack/**/*.test.ts'], concurrency: 2, first: ['hack/tree.test.ts'] },
  { name: 'unit', files: ['{agent,cli,cni,dns-proxy,operator}/**/*.test.ts', 'test/bench/*.test.ts'], concurrency: 2 },
  { name: 'fakes', files: ['test/fakes/**/*.test.ts'], concurrency: 2 },
  { name: 'conformance', files: ['test/conformance/**/*.test.ts'], concurrency: 1 },
  { name: 'fuzz', files: ['test/fuzz/**/*.test.ts'], concurrency: 1 },
  { name: 'datapath', files: ['test/datapath/**/*.test.ts'], concurrency: 1 },
  {
    ...{ name: 'netns', files: ['test/netns/**/*.test.ts'], concurrency: 2 },
    first: ['kubernetes/etcd', 'kubernetes/custom-resources', 'matrix/matrix', 'upgrade', 'host-firewall'].map(
      (name) => `test/netns/${name}.test.ts`,
    ),
  },
  { name: 'runtime', files: ['test/runtime/**/*.test.ts'], concurrency: 1 },
  { name: 'docs', files: ['docs/**/*.test.ts', 'test/docs/**/*.test.ts'], concurrency: 1 },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { filter: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
});
if (values.help) {
  console.log(`usage: node hack/test.ts [--filter TEXT] [${GROUPS.map((g) => g.name).join('|')}]...`);
  process.exit(0);
}
const unknown = positionals.filter((name) => !GROUPS.some((group) => group.name === name));
if (unknown.length > 0) {
  console.error(`unknown group ${unknown.join(', ')}; groups are ${GROUPS.map((g) => g.name).join(', ')}`);
  process.exit(2);
}

const swept = sweep();
if (swept.length > 0) console.log(`cleared what an earlier run left behind: ${swept.join(', ')}`);

const total = { passed: 0, failed: 0, skipped: 0 };
/** What failed, said once more at the end: a log is read from there. */
const failures: string[] = [];
for (const group of GROUPS) {
  if (positionals.length > 0 && !positionals.includes(group.name)) continue;
  const files = filesOf(group).filter((file) => values.filter === undefined || file.includes(values.filter));
  if (files.length === 0) continue;
  console.log(`\n== ${group.name}: ${files.length} file${files.length === 1 ? '' : 's'}`);
  await runGroup(
    files.map((file) => path.join(root, file)),
    group.concurrency,
  );
}
if (failures.length > 0) console.log(`\n== failed\n${failures.join('\n')}`);
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);

function filesOf({ files, first = [] }: Group): string[] {
  const found = globSync([...files], { cwd: root }).sort();
  const gone = first.filter((file) => !found.includes(file));
  if (gone.length > 0) throw new Error(`hack/test.ts: ${gone.join(', ')} is to begin first, and does not exist`);
  return [...first, ...found.filter((file) => !first.includes(file))];
}

async function runGroup(files: string[], concurrency: number): Promise<void> {
  const stream = run({ files, concurrency, timeout: 900_000 });
  stream.on('test:pass', (event) => {
    if (event.details.type === 'suite') return;
    if (event.skip !== undefined) total.skipped++;
    else total.passed++;
  });
  stream.on('test:fail', (event) => {
    // A suite fails when one of its tests does: that test is already counted.
    if (event.details.type === 'suite' && subtestsFailed(event.details.error)) return;
    total.failed++;
    failures.push(failureText(event.name, event.file, event.details.error));
  });
  await pipeline(stream, new spec(), process.stdout, { end: false });
}

/** The test, where it is, and why it failed, cause by cause. */
function failureText(name: string, file: string | undefined, error: Error): string {
  const where = file === undefined ? '' : ` (${path.relative(root, file)})`;
  return [`✖ ${name}${where}`, ...reasonLines(error, FAILURE_LINES).map((line) => `    ${line}`)].join('\n');
}

/** node:test marks the error of a suite whose tests failed; its type does not say so. */
function subtestsFailed(error: Error & { failureType?: string }): boolean {
  return error.failureType === 'subtestsFailed';
}
