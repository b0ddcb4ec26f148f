import { decodeConfig, decodeInput, type NetworkConfig } from '../spec/config.ts';
import { commandOf, type Command, type Environment } from '../spec/environment.ts';
import { encodeError, type CniError } from '../spec/error.ts';
import { stringField } from '../spec/fields.ts';
import { versionAnswer } from '../spec/version.ts';
import { add } from './add.ts';
import { check } from './check.ts';
import { del } from './del.ts';
import { cniErrorOf } from './fault.ts';
import { gc } from './gc.ts';
import type { Runtime } from './runtime.ts';
import { status } from './status.ts';

const HANDLERS: Record<Exclude<Command, 'VERSION'>, (runtime: Runtime, config: NetworkConfig) => Promise<void>> = {
  ADD: add,
  DEL: del,
  CHECK: check,
  STATUS: status,
  GC: gc,
};

/** Does the one command that the environment and stdin ask for; returns the process's exit code. */
export async function run(runtime: Runtime): Promise<0 | 1> {
  const started = runtime.now();
  let version: string | undefined;
  let config: NetworkConfig | undefined;
  let failure: CniError | undefined;
  try {
    const command = commandOf(runtime.env);
    const input = await runtime.readInput();
    if (command === 'VERSION') {
      // Some runtimes ask before they have a configuration, and write nothing.
      version = input.trim() === '' ? undefined : stringField(decodeInput(input), 'cniVersion');
      runtime.write(`${JSON.stringify(versionAnswer(version))}\n`);
      return 0;
    }
    const fields = decodeInput(input);
    version = stringField(fields, 'cniVersion');
    config = decodeConfig(fields);
    await HANDLERS[command](runtime, config);
  } catch (error) {
    failure = cniErrorOf(error);
    tell(runtime, encodeError(failure, version));
  }
  if (config?.logFile !== undefined) log(runtime, config.logFile, started, failure);
  return failure === undefined ? 0 : 1;
}

function tell(runtime: Runtime, error: string): void {
  try {
    runtime.write(`${error}\n`);
  } catch (cause) {
    // The runtime has closed its end of stdout; stderr is the last place where a person may look.
    runtime.warn(`${error} (stdout: ${String(cause)})`);
  }
}

/** One line of JSON for each command. A log that cannot be written is no reason to fail a pod. */
function log(runtime: Runtime, file: string, started: number, failure: CniError | undefined): void {
  const line = {
    time: new Date(started).toISOString(),
    level: failure === undefined ? 'info' : 'error',
    ...named(runtime.env),
    milliseconds: runtime.now() - started,
    ...(failure !== undefined && { code: failure.code, msg: failure.message, details: failure.details }),
  };
  try {
    runtime.appendFile(file, `${JSON.stringify(line)}\n`);
  } catch (cause) {
    runtime.warn(`cannot write ${file}: ${String(cause)}`);
  }
}

function named(env: Environment): Record<string, string | undefined> {
  return {
    command: env['CNI_COMMAND'],
    container: env['CNI_CONTAINERID'],
    netns: env['CNI_NETNS'],
    interface: env['CNI_IFNAME'],
    args: env['CNI_ARGS'],
  };
}
