/** `npm run fuzz -- policy [--count N] [--seed FIRST]`: cases of consecutive seeds, until one fails. */
import { parseArgs } from 'node:util';
import { fuzzPolicy } from './policy.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
if (positionals.length !== 1 || positionals[0] !== 'policy') {
  console.error('usage: npm run fuzz -- policy [--count N] [--seed FIRST]');
  process.exit(2);
}

const [count, first] = [Number(values.count), Number(values.seed)];
for (let seed = first; seed < first + count; seed++) {
  const failed = fuzzPolicy(seed);
  if (failed !== undefined) {
    console.error(`seed ${failed.seed}: ${failed.error.message}\n${JSON.stringify(failed.smallest, undefined, 1)}`);
    process.exit(1);
  }
  if ((seed - first + 1) % 1000 === 0) console.log(`${seed - first + 1} of ${count}`);
}
console.log(`${count} cases from seed ${first}: every property holds`);
