/** `npm run check`: everything that can be judged without running the product. All checks run; any failure fails. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const bin = (name: string): string => path.join(root, 'node_modules/.bin', name);

interface Check {
  readonly name: string;
  readonly argv: readonly string[];
}

/** Those that take longest begin first. */
const CHECKS: readonly Check[] = [
  { name: 'lint', argv: [bin('eslint'), '--max-warnings', '0', '.'] },
  { name: 'types', argv: [bin('tsc'), '--noEmit'] },
  { name: 'format', argv: [bin('prettier'), '--check', '--log-level', 'warn', '.'] },
  { name: 'generated files', argv: [process.execPath, 'hack/bpf-gen.ts', '--check'] },
  { name: 'layers', argv: [process.execPath, 'hack/check-layers.ts'] },
  { name: 'custom resources', argv: [process.execPath, 'hack/crds.ts', '--check'] },
  { name: 'docs', argv: [process.execPath, 'hack/check-docs.ts'] },
];

const only = process.argv.slice(2);
const waiting = CHECKS.filter(({ name }) => only.length === 0 || only.includes(name));
let failed = 0;
// Each has one thread: as many at a time as there are processors.
await Promise.all(
  Array.from({ length: os.availableParallelism() }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) if (!(await passes(next))) failed++;
  }),
);
process.exitCode = failed === 0 ? 0 : 1;

/** Runs a check, and shows what it says when it has ended. */
async function passes({ name, argv }: Check): Promise<boolean> {
  const [command, ...args] = argv;
  const script = args.find((arg) => arg.startsWith('hack/'));
  if (script !== undefined && !existsSync(path.join(root, script))) {
    console.log(`check ${name}: FAILED (${script} is missing)`);
    return false;
  }
  const started = process.hrtime.bigint();
  const { status, output } = await run(command!, args);
  const seconds = (Number(process.hrtime.bigint() - started) / 1e9).toFixed(1);
  process.stdout.write(output);
  console.log(`check ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)`);
  return status === 0;
}

async function run(command: string, args: readonly string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return await new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (status) => resolve({ status, output }));
  });
}
