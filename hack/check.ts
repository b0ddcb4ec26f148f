/** `npm run check`: everything that can be judged without running the product. All checks run; any failure fails. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const bin = (name: string): string => path.join(root, 'node_modules/.bin', name);

const CHECKS: readonly { readonly name: string; readonly argv: readonly string[] }[] = [
  { name: 'types', argv: [bin('tsc'), '--noEmit'] },
  { name: 'format', argv: [bin('prettier'), '--check', '--log-level', 'warn', '.'] },
  { name: 'lint', argv: [bin('eslint'), '--max-warnings', '0', '.'] },
  { name: 'layers', argv: [process.execPath, 'hack/check-layers.ts'] },
  { name: 'generated files', argv: [process.execPath, 'hack/bpf-gen.ts', '--check'] },
  { name: 'custom resources', argv: [process.execPath, 'hack/crds.ts', '--check'] },
  { name: 'docs', argv: [process.execPath, 'hack/check-docs.ts'] },
];

const only = process.argv.slice(2);
let failed = 0;
for (const { name, argv } of CHECKS) {
  if (only.length > 0 && !only.includes(name)) continue;
  const [command, ...args] = argv;
  const script = args.find((arg) => arg.startsWith('hack/'));
  if (script !== undefined && !existsSync(path.join(root, script))) {
    console.log(`check ${name}: FAILED (${script} is missing)`);
    failed++;
    continue;
  }
  const started = process.hrtime.bigint();
  const { status } = spawnSync(command!, args, { cwd: root, stdio: 'inherit' });
  const seconds = (Number(process.hrtime.bigint() - started) / 1e9).toFixed(1);
  console.log(`check ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)`);
  if (status !== 0) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
