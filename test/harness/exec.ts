import { spawn, spawnSync, type ChildProcess, type StdioOptions } from 'node:child_process';

/** What a command printed, when it succeeded. */
export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number;
}

/** Runs a command to its end. */
export function tryRun(
  argv: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Output {
  const [command, ...args] = argv;
  const done = spawnSync(command!, args, {
    encoding: 'utf8',
    input: options.input,
    env: options.env ?? process.env,
    timeout: options.timeoutMs ?? 60_000,
    maxBuffer: 64 << 20,
  });
  if (done.error !== undefined) throw new Error(`${argv.join(' ')}: ${done.error.message}`);
  return { stdout: done.stdout, stderr: done.stderr, status: done.status ?? 128 };
}

/** Runs a command to its end and throws what it printed unless it succeeded. */
export function run(
  argv: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): string {
  const { stdout, stderr, status } = tryRun(argv, options);
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs a command in the background of this process; resolves with its output when it ends. */
export async function runAsync(
  argv: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Output> {
  const child = start(argv, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  // A command that ends before it has read its input says by its status how that went.
  child.stdin!.on('error', () => undefined);
  child.stdin!.end(options.input ?? '');
  const status = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 128));
  });
  return { stdout, stderr, status };
}

/**
 * Starts a process that the kernel kills when this one dies, however that happens (PR_SET_PDEATHSIG), so that a killed
 * test run leaves no process behind.
 */
export function start(
  argv: readonly string[],
  options: { stdio: StdioOptions; env?: NodeJS.ProcessEnv },
): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
    stdio: options.stdio,
    env: options.env ?? process.env,
  });
}

/** Ends a process that `start` started and waits until it is gone. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await gone;
  clearTimeout(timer);
}
