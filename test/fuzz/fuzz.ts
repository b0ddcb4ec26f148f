/** `npm run fuzz -- NAME [--count N] [--seed FIRST]`: cases of consecutive seeds, until one fails. */
import { parseArgs } from 'node:util';
import { fuzzDns } from './dns.ts';
import { PolicyKernel } from './policy-kernel.ts';
import { fuzzPolicy } from './policy.ts';

/** Runs the case of a seed; what to print when it fails. */
type RunCase = (seed: number) => Promise<string | undefined>;

/** What can be fuzzed: each sets itself up, runs, and cleans up behind itself. */
const TARGETS: Readonly<Record<string, (run: (runCase: RunCase) => Promise<number>) => Promise<number>>> = {
  policy: async (run) => {
    using kernel = await PolicyKernel.start();
    return await run(async (seed) => {
      const failed = await fuzzPolicy(seed, kernel);
      return failed && `${failed.error.message}\n${JSON.stringify(failed.smallest, undefined, 1)}`;
    });
  },
  dns: (run) =>
    run((seed) => {
      const failed = fuzzDns(seed);
      return Promise.resolve(failed && `${failed.error.message}\n${failed.message}`);
    }),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const usage = `usage: npm run fuzz -- ${Object.keys(TARGETS).join('|')} [--count N] [--seed FIRST]`;
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const target = TARGETS[positionals[0] ?? ''];
if (positionals.length !== 1 || target === undefined) {
  console.error(usage);
  process.exit(2);
}

process.exitCode = await target((runCase) => cases(runCase, Number(values.count), Number(values.seed)));

async function cases(runCase: RunCase, count: number, first: number): Promise<number> {
  const start = Date.now();
  const step = Math.max(1000, Math.round(count / 100));
  for (let done = 0; done < count; done++) {
    const failed = await runCase(first + done);
    if (failed !== undefined) {
      console.error(`seed ${first + done}: ${failed}`);
      return 1;
    }
    if ((done + 1) % step === 0)
      console.log(`${done + 1} of ${count} after ${Math.round((Date.now() - start) / 1000)} s`);
  }
  console.log(`${count} cases from seed ${first}: every property holds`);
  return 0;
}
