/** Settings as they were given: on the command line, in the environment, in a file. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseDocument } from 'yaml';
import { errorText, WeirError } from '../model/errors.ts';
import { environmentName, OPTIONS, type Option, type OptionName } from './options.ts';

/** Where a setting was found, for errors. */
export interface Setting {
  readonly values: readonly string[];
  readonly from: string;
}

export type Settings = Partial<Record<OptionName, Setting>>;

/**
 * The command line goes before the environment, and that before the file that either of them names.
 *
 * @throws WeirError CONFIG_INVALID naming the flag, variable or entry.
 */
export function readSettings(argv: readonly string[], environment: NodeJS.ProcessEnv): Settings {
  const line = fromCommandLine(argv);
  // Who asks for help gets it, whatever is wrong elsewhere.
  if (line.help !== undefined || line.version !== undefined) return line;
  const variables = fromEnvironment(environment);
  const file = line.config ?? variables.config;
  return { ...(file && fromFile(file.values[0]!)), ...variables, ...line };
}

function fromCommandLine(argv: readonly string[]): Settings {
  const options = Object.fromEntries(
    OPTIONS.map(({ name, kind }: Option) => [
      name,
      { type: kind === 'flag' ? ('boolean' as const) : ('string' as const), multiple: kind === 'list' },
    ]),
  );
  try {
    const { values } = parseArgs({ args: [...argv], options, allowPositionals: false, strict: true });
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => {
        const texts = (Array.isArray(value) ? value : [value]).map(String);
        return [name, { values: isList(name) ? texts.flatMap(splitList) : texts, from: `--${name}` }];
      }),
    );
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', errorText(cause), { field: 'command line', cause });
  }
}

function fromEnvironment(environment: NodeJS.ProcessEnv): Settings {
  const settings: Record<string, Setting> = {};
  for (const option of OPTIONS) {
    const variable = environmentName(option.name);
    const value = environment[variable];
    if (value === undefined || ('commandLineOnly' in option && option.name !== 'config')) continue;
    settings[option.name] = { values: isList(option.name) ? splitList(value) : [value], from: variable };
  }
  return settings;
}

function fromFile(path: string): Settings {
  const fail = (message: string): never => {
    throw new WeirError('CONFIG_INVALID', message, { object: path });
  };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    return fail(`cannot be read: ${errorText(cause)}`);
  }
  const document = parseDocument(text);
  const syntax = document.errors[0];
  if (syntax !== undefined) return fail(syntax.message);
  const content: unknown = document.toJS();
  if (content === null || content === undefined) return {};
  if (typeof content !== 'object' || Array.isArray(content)) return fail('must be a mapping of flag names to values');
  const settings: Record<string, Setting> = {};
  for (const [name, value] of Object.entries(content as Record<string, unknown>)) {
    const option = OPTIONS.find((candidate) => candidate.name === name);
    if (option === undefined || 'commandLineOnly' in option)
      return fail(`${name}: there is no such setting; see --help`);
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (items.length !== 1 && option.kind !== 'list') return fail(`${name}: must be one value`);
    const values = items.map((item) =>
      typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean'
        ? String(item)
        : fail(`${name}: must be a text, a number, or a list of them`),
    );
    settings[name] = { values: option.kind === 'list' ? values.flatMap(splitList) : values, from: `${path}: ${name}` };
  }
  return settings;
}

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

const isList = (name: string): boolean => OPTIONS.find((option) => option.name === name)?.kind === 'list';
