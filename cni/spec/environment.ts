import { IDENTIFIER, type Attachment } from './config.ts';
import { CNI_CODE, CniError } from './error.ts';

export const COMMANDS = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION'] as const;
export type Command = (typeof COMMANDS)[number];

/** The process's environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Linux's IFNAMSIZ without the terminating zero, in bytes. */
const MAX_IFNAME_BYTES = 15;

/** @throws CniError invalidEnvironment when CNI_COMMAND is missing or unknown. */
export function commandOf(env: Environment): Command {
  const command = env['CNI_COMMAND'] ?? '';
  if (command === '') throw missing(['CNI_COMMAND']);
  const known = COMMANDS.find((name) => name === command);
  if (known !== undefined) return known;
  throw invalid('CNI_COMMAND', command, `one of ${COMMANDS.join(', ')}`);
}

/**
 * The container and interface that a command is about.
 *
 * @throws CniError invalidEnvironment, naming all variables that are missing, or the one that is invalid.
 */
export function attachmentOf(env: Environment): Attachment {
  requirePresent(env, ['CNI_CONTAINERID', 'CNI_IFNAME']);
  const containerId = env['CNI_CONTAINERID']!;
  const ifName = env['CNI_IFNAME']!;
  if (!IDENTIFIER.test(containerId)) {
    throw invalid('CNI_CONTAINERID', containerId, 'a letter or digit, then letters, digits, "_", "." and "-"');
  }
  if (!isInterfaceName(ifName)) {
    const expected = `the name of an interface: 1 to ${MAX_IFNAME_BYTES} bytes, not "." or "..", without "/", ":" and spaces`;
    throw invalid('CNI_IFNAME', ifName, expected);
  }
  return { containerId, ifName };
}

/** An attachment together with the path of its network namespace, for the commands that need one. */
export function sandboxOf(env: Environment): Attachment & { readonly netns: string } {
  requirePresent(env, ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']);
  const netns = env['CNI_NETNS']!;
  if (!netns.startsWith('/')) throw invalid('CNI_NETNS', netns, 'the absolute path of a network namespace');
  return { ...attachmentOf(env), netns };
}

/** As dev_valid_name() of the kernel, and without the colon of old alias names. */
function isInterfaceName(name: string): boolean {
  const bytes = new TextEncoder().encode(name).length;
  return bytes <= MAX_IFNAME_BYTES && name !== '.' && name !== '..' && !/[/:\s]/.test(name);
}

function requirePresent(env: Environment, names: readonly string[]): void {
  const absent = names.filter((name) => (env[name] ?? '') === '');
  if (absent.length > 0) throw missing(absent);
}

function missing(names: readonly string[]): CniError {
  return new CniError(
    CNI_CODE.invalidEnvironment,
    `missing environment: ${names.join(', ')}`,
    'a container runtime runs weir-cni and sets these variables (CNI specification, "Parameters")',
  );
}

export function invalid(name: string, value: string, expected: string): CniError {
  return new CniError(
    CNI_CODE.invalidEnvironment,
    `invalid environment: ${name} is ${JSON.stringify(value)}`,
    `${name} must be ${expected}`,
  );
}
