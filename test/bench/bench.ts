/** `npm run bench [-- [--quick] [--only TEXT] NAME…]`: every bench, or those named. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Bench } from './suite.ts';

const NAMES = [
  'cni',
  'endpoints',
  'pod-to-pod',
  'across-nodes',
  'service',
  'packet-cost',
  'policy',
  'policy-delay',
  'fqdn',
  'dns',
  'scale',
] as const;

/** Several at once. */
const GROUPS: ReadonlyMap<string, readonly string[]> = new Map([
  ['datapath', ['pod-to-pod', 'across-nodes', 'service', 'packet-cost']],
]);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  console.log(`usage: npm run bench [-- [--quick] [--only TEXT] ${[...GROUPS.keys(), ...NAMES].join(' | ')}]

--quick: one round of benches that have rounds, a small cluster, to see that they work
--only: of pod-to-pod, across-nodes and service the measures whose name has this in it, such as connections`);
  process.exit(0);
}
const wanted = positionals.flatMap((name) => GROUPS.get(name) ?? [name]);
const unknown = wanted.filter((name) => !NAMES.some((known) => known === name));
if (unknown.length > 0) {
  console.error(`unknown bench ${unknown.join(', ')}; there are ${[...GROUPS.keys(), ...NAMES].join(', ')}`);
  process.exit(2);
}
for (const name of NAMES) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const file = path.join(import.meta.dirname, `${name}.ts`);
  if (!existsSync(file)) throw new Error(`bench ${name} is listed but has no file`);
  const { bench } = (await import(pathToFileURL(file).href)) as { bench: Bench };
  console.log(`\n== ${bench.name}: ${bench.title}`);
  await bench.run((line) => console.log(line), { quick: values.quick, only: values.only });
}
process.exit(0);
