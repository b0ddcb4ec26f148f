/** `npm run bench [-- NAME…]`: every bench, or those named. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Bench } from './suite.ts';

const NAMES = [
  'cni',
  'endpoints',
  'pod-to-pod',
  'across-nodes',
  'service',
  'packet-cost',
  'policy',
  'fqdn',
  'dns',
] as const;

const wanted = process.argv.slice(2);
if (wanted.includes('--help') || wanted.includes('-h')) {
  console.log(`usage: npm run bench [-- ${NAMES.join(' | ')}]`);
  process.exit(0);
}
const unknown = wanted.filter((name) => !NAMES.some((known) => known === name));
if (unknown.length > 0) {
  console.error(`unknown bench ${unknown.join(', ')}; there are ${NAMES.join(', ')}`);
  process.exit(2);
}
for (const name of NAMES) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const file = path.join(import.meta.dirname, `${name}.ts`);
  if (!existsSync(file)) throw new Error(`bench ${name} is listed but has no file`);
  const { bench } = (await import(pathToFileURL(file).href)) as { bench: Bench };
  console.log(`\n== ${bench.name}: ${bench.title}`);
  await bench.run((line) => console.log(line));
}
process.exit(0);
