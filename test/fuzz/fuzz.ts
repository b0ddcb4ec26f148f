/** `npm run fuzz -- policy [--count N] [--seed FIRST]`: cases of consecutive seeds, until one fails. */
import { parseArgs } from 'node:util';
import { fuzzPolicy } from './policy.ts';
import { PolicyKernel } from './policy-kernel.ts';

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

process.exitCode = await run(Number(values.count), Number(values.seed));

async function run(count: number, first: number): Promise<number> {
  using kernel = await PolicyKernel.start();
  const start = Date.now();
  for (let done = 0; done < count; done++) {
    const failed = await fuzzPolicy(first + done, kernel);
    if (failed !== undefined) {
      console.error(`seed ${failed.seed}: ${failed.error.message}\n${JSON.stringify(failed.smallest, undefined, 1)}`);
      return 1;
    }
    if ((done + 1) % 1000 === 0)
      console.log(`${done + 1} of ${count} after ${Math.round((Date.now() - start) / 1000)} s`);
  }
  console.log(`${count} cases from seed ${first}: every property holds`);
  return 0;
}
