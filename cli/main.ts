/** `weir`, the local command line of the agent. */
import { run } from './run.ts';

const stop = new AbortController();
// The first signal ends what runs; the second one ends the process, whatever it does.
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `weir monitor | head`: nobody reads on.
  if (error.code === 'EPIPE') stop.abort();
  else throw error;
});

process.exitCode = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  now: Date.now,
  signal: stop.signal,
});
