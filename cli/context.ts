import { once } from 'node:events';
import type { Command } from 'commander';
import { ApiClient, DEFAULT_SOCKET } from '../agent/api/client.ts';
import { EXIT } from './fault.ts';
import { formatData, parseOutputFormat, type OutputFormat } from './output/format.ts';
import { paintFor } from './output/paint.ts';
import { renderTable, type Paint, type Row } from './output/table.ts';
import type { Terminal } from './terminal.ts';

/** How long the agent may take to answer, in milliseconds. */
const ANSWER_TIMEOUT_MS = 30_000;

/** What a running command works with. */
export class Context {
  readonly client: ApiClient;
  readonly terminal: Terminal;
  readonly paint: Paint;
  /** Undefined: for people. */
  readonly format: OutputFormat | undefined;
  exitCode: number = EXIT.ok;

  /** @throws UsageError for an output format that does not exist. */
  constructor(terminal: Terminal, options: { readonly socket?: string; readonly output?: string }) {
    this.terminal = terminal;
    this.client = new ApiClient(socketPath(terminal, options.socket), ANSWER_TIMEOUT_MS);
    this.paint = paintFor(terminal.stdout, terminal.env);
    this.format = options.output === undefined ? undefined : parseOutputFormat(options.output);
  }

  /** Prints `data` in the format that was asked for, or else the text for people. */
  async print(data: unknown, text: () => string | Promise<string>): Promise<void> {
    await this.write(this.format === undefined ? await text() : await formatData(data, this.format));
  }

  /** Prints `data` in the format that was asked for, or else a table. */
  async printTable(data: unknown, rows: () => readonly Row[] | Promise<readonly Row[]>): Promise<void> {
    await this.print(data, async () => this.table(await rows()));
  }

  table(rows: readonly Row[]): string {
    return renderTable(rows, this.paint);
  }

  async write(text: string): Promise<void> {
    const { stdout } = this.terminal;
    // A reader that is slower than the agent must not fill our memory.
    if (!stdout.write(text)) await once(stdout, 'drain', { signal: this.terminal.signal });
  }

  warn(text: string): void {
    this.terminal.stderr.write(`${text}\n`);
  }
}

/** The socket to talk to: the flag, then the environment, then the default. */
export function socketPath(terminal: Terminal, flag: string | undefined): string {
  const fromEnv = terminal.env['WEIR_SOCKET'];
  return flag ?? (fromEnv === undefined || fromEnv === '' ? DEFAULT_SOCKET : fromEnv);
}

/** The work of a command: its words and its options, as declared. */
export type Handler<Options> = (context: Context, words: readonly string[], options: Options) => Promise<void>;

/** Ties handlers to commands, and keeps the exit code of the one that ran. */
export class Runner {
  readonly terminal: Terminal;
  exitCode: number = EXIT.ok;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** Makes `handler` the action of `command`. */
  action<Options = object>(command: Command, handler: Handler<Options>): Command {
    return command.action(async () => {
      const context = new Context(this.terminal, command.optsWithGlobals<{ socket?: string; output?: string }>());
      await handler(context, command.args, command.opts() as Options);
      this.exitCode = context.exitCode;
    });
  }
}

/** Adds `-o`, the same for every command. */
export function withOutput(command: Command): Command {
  return command.option('-o, --output <format>', "print json, yaml or jsonpath='TEMPLATE'");
}
