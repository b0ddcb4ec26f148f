/**
 * `npm run build`: compiles `bpf/*.c`, generates `bpf/gen`, and bundles the agent, the CLI, the operator and the CNI executable into
 * `dist/`. Each step is skipped when its output is newer than its inputs.
 */
import path from 'node:path';
import { buildBpf } from './build-bpf.ts';
import { buildBundles } from './build-bundles.ts';
import { buildCni } from './build-cni.ts';

const root = path.resolve(import.meta.dirname, '..');

const STEPS = [
  { name: 'eBPF objects', run: buildBpf },
  { name: 'weir-agent, weir, weir-dns-proxy, weir-operator', run: buildBundles },
  { name: 'weir-cni', run: buildCni },
] as const;

for (const { name, run } of STEPS) {
  const started = process.hrtime.bigint();
  const built = await run(root);
  if (!built) continue;
  console.log(`built ${name} in ${(Number(process.hrtime.bigint() - started) / 1e9).toFixed(1)} s`);
}
