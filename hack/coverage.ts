/**
 * What the packet tests reach of the kernel programs: runs them with instrumented programs, built outside the tree, and
 * prints how many of the blocks that the verifier keeps have run, and the lines of which none has.
 *
 *   node hack/coverage.ts [--write] [-o json] [TEST FILE…]
 *
 * test/datapath/README.md says how to read it. `--write` updates test/datapath/coverage.md.
 */
import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { BpfMap } from '../agent/kernel/bpf-map.ts';
import { pinFolder } from '../agent/kernel/testbed.ts';
import { OBJECTS, type ObjectName } from '../bpf/gen/objects.ts';
import { TestNode } from '../test/datapath/node.ts';
import { COVERAGE_ENVIRONMENT, COVERAGE_MAP } from '../test/datapath/objects.ts';
import { coverageBlocks } from './coverage-counters.ts';
import { compileInstrumented } from './coverage-instrument.ts';
import { keptBlocks } from './coverage-kept.ts';
import { coverageReport, coverageTables, neverReached, percent, type ObjectCoverage } from './coverage-report.ts';

const root = path.resolve(import.meta.dirname, '..');
const WRITTEN = path.join(root, 'test/datapath/coverage.md');

const HEADER = `# What the packet tests reach

Written by \`npm run test:coverage -- --write\`; [README.md](README.md#coverage) says how to read it.

`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { write: { type: 'boolean' }, output: { type: 'string', short: 'o' } },
});
const files = positionals.length > 0 ? positionals : globSync('test/datapath/*.test.ts', { cwd: root }).sort();
const names = Object.keys(OBJECTS) as ObjectName[];

const folder = mkdtempSync(path.join(os.tmpdir(), 'weir-coverage-'));
try {
  using pins = pinFolder();
  process.env[COVERAGE_ENVIRONMENT.objects] = folder;
  process.env[COVERAGE_ENVIRONMENT.pins] = pins.at('.');
  await Promise.all(
    names.map((name) => compileInstrumented(path.join(root, `bpf/${name}.c`), path.join(folder, OBJECTS[name].file))),
  );
  // Before the tests: whoever loads an object first makes the map that all others count in.
  using node = await TestNode.start();
  const kept = new Map(names.map((name) => [name, keptBlocks(name, node.load.bind(node))]));
  process.exitCode = await runTests();
  const report = coverageReport(names.map((name) => objectCoverage(name, kept.get(name)!, pins.at(name))));
  const source = (file: string): string[] => readFileSync(path.join(root, file), 'utf8').split('\n');
  if (values.output === 'json') console.log(JSON.stringify(report, null, 2));
  else {
    console.log(`${coverageTables(report)}\nNever reached:\n\n${neverReached(report, source)}\n`);
    console.log(`${percent(report.blocks)} % of the blocks, ${percent(report.lines)} % of the lines`);
  }
  if (values.write) writeFileSync(WRITTEN, `${HEADER}${coverageTables(report)}`);
} finally {
  rmSync(folder, { recursive: true });
}

/** Runs the tests one file after another, as `npm test` does; what they say goes to standard error. */
function runTests(): Promise<number> {
  const tests = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-reporter=dot', ...files], {
    cwd: root,
    stdio: ['ignore', process.stderr, process.stderr],
  });
  return new Promise((resolve, reject) => {
    tests.on('error', reject);
    tests.on('exit', (code) => resolve(code ?? 1));
  });
}

function objectCoverage(name: ObjectName, kept: ReadonlySet<number>, pin: string): ObjectCoverage {
  using counters = BpfMap.openPinned(pin, COVERAGE_MAP)!;
  const blocks = coverageBlocks(readFileSync(path.join(folder, OBJECTS[name].file)), COVERAGE_MAP);
  const bytes = counters.lookup(Buffer.alloc(4))!;
  const reached = new Set(blocks.map(({ offset }) => offset).filter((offset) => bytes[offset] === 1));
  return { object: name, blocks, kept, reached };
}
