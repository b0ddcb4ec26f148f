import { CNI_CODE, CniError } from './error.ts';
import {
  integerField,
  isObject,
  objectField,
  objectListField,
  pathOf,
  show,
  stringField,
  wrongField,
  type Fields,
} from './fields.ts';
import { decodeResult, type Result } from './result.ts';
import { atLeast, isSupported, SUPPORTED_VERSIONS, type SpecVersion } from './version.ts';

/** What every command needs of the network configuration; what only some need is decoded where they need it. */
export interface NetworkConfig {
  readonly cniVersion: SpecVersion;
  /** Name of the network. */
  readonly name: string;
  /** `socket`: where the agent listens; its default place when absent. */
  readonly socket: string | undefined;
  /** `delete-queue`: folder for deletes that no agent could take; beside the socket when absent. */
  readonly deleteQueue: string | undefined;
  /** `timeout`, in seconds in the file: how long a command may wait for the agent, in milliseconds. */
  readonly timeoutMs: number;
  /** `log-file`: gets one line of JSON for each command; no log when absent. */
  readonly logFile: string | undefined;
  /** The whole configuration, for the fields that only some commands read. */
  readonly fields: Fields;
}

/** One interface of one container. */
export interface Attachment {
  readonly containerId: string;
  readonly ifName: string;
}

/** Less than a kubelet waits for a sandbox (4 minutes), more than an agent needs to start. */
const DEFAULT_TIMEOUT_SECONDS = 60;
const MAX_TIMEOUT_SECONDS = 600;

/** Names of networks and container ids (spec §"Parameters"). */
export const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/**
 * Decodes JSON from stdin into an object.
 *
 * @throws CniError decodingFailure
 */
export function decodeInput(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const why = text.trim() === '' ? 'stdin is empty' : (cause as SyntaxError).message;
    throw undecodable(why, cause);
  }
  if (!isObject(value)) throw undecodable(`it is ${show(value)}, not an object`);
  return { path: '', values: value };
}

function undecodable(why: string, cause?: unknown): CniError {
  return new CniError(
    CNI_CODE.decodingFailure,
    `cannot decode the network configuration: ${why}`,
    'the runtime must write the network configuration as JSON to stdin: correct the CNI configuration file',
    cause,
  );
}

/**
 * Checks version, name and the plugin's own settings.
 *
 * @throws CniError incompatibleVersion or invalidConfig
 */
export function decodeConfig(fields: Fields): NetworkConfig {
  const cniVersion = stringField(fields, 'cniVersion');
  if (cniVersion === undefined || !isSupported(cniVersion)) throw incompatible(cniVersion);
  const name = stringField(fields, 'name');
  if (name === undefined || !IDENTIFIER.test(name)) {
    throw wrongField('name', name, 'a name that starts with a letter or digit, then letters, digits, "_", "." and "-"');
  }
  const timeout = integerField(fields, 'timeout', 1, MAX_TIMEOUT_SECONDS) ?? DEFAULT_TIMEOUT_SECONDS;
  return {
    cniVersion,
    name,
    socket: pathField(fields, 'socket'),
    deleteQueue: pathField(fields, 'delete-queue'),
    timeoutMs: timeout * 1000,
    logFile: pathField(fields, 'log-file'),
    fields,
  };
}

/** An absolute path; undefined when absent. The plugin's working directory is the runtime's: relative paths mean nothing. */
function pathField(fields: Fields, key: string): string | undefined {
  const value = stringField(fields, key);
  if (value === undefined || value.startsWith('/')) return value;
  throw wrongField(pathOf(fields, key), value, 'an absolute path');
}

function incompatible(version: string | undefined): CniError {
  return new CniError(
    CNI_CODE.incompatibleVersion,
    `incompatible CNI version: the configuration's cniVersion is ${show(version)}`,
    `weir-cni supports ${SUPPORTED_VERSIONS.join(', ')}: set cniVersion to one of them`,
  );
}

/**
 * Refuses a command that the version of the configuration does not know.
 *
 * @throws CniError incompatibleVersion
 */
export function requireVersion(config: NetworkConfig, command: string, since: SpecVersion): void {
  if (atLeast(config.cniVersion, since)) return;
  throw new CniError(
    CNI_CODE.incompatibleVersion,
    `CNI version ${config.cniVersion} has no command ${command}`,
    `${command} came with version ${since}: set cniVersion to that or later`,
  );
}

/**
 * Refuses what the plugin cannot honour: it creates the interface itself, so it comes first in a chain, and its agent
 * hands out the addresses.
 *
 * @throws CniError unsupportedField
 */
export function refuseUnsupported(config: NetworkConfig): void {
  const ipam = objectField(config.fields, 'ipam');
  const type = ipam === undefined ? undefined : stringField(ipam, 'type');
  if (type !== undefined && type !== '') {
    throw unsupported('ipam.type', type, 'weir-agent allocates the addresses: remove ipam from the CNI configuration');
  }
  const previous = config.fields.values['prevResult'] ?? undefined;
  if (previous !== undefined) {
    throw unsupported('prevResult', previous, 'weir-cni creates the interface: put it first in the list of plugins');
  }
}

function unsupported(path: string, value: unknown, advice: string): CniError {
  const message = `unsupported field in the network configuration: ${path} is ${show(value)}`;
  return new CniError(CNI_CODE.unsupportedField, message, advice);
}

/**
 * What ADD had answered, as the runtime kept it.
 *
 * @throws CniError invalidConfig when it is absent or malformed.
 */
export function previousResult(config: NetworkConfig): Result {
  const previous = objectField(config.fields, 'prevResult');
  if (previous === undefined) throw wrongField('prevResult', undefined, 'the result of the ADD');
  return decodeResult(previous);
}

/**
 * The attachments that GC must keep.
 *
 * @throws CniError invalidConfig when the list is absent: an absent list is no leave to delete everything.
 */
export function validAttachments(config: NetworkConfig): readonly Attachment[] {
  const key = 'cni.dev/valid-attachments';
  const list = objectListField(config.fields, key);
  if (list === undefined) throw wrongField(key, undefined, 'the list of attachments to keep');
  return list.map((item) => ({ containerId: required(item, 'containerID'), ifName: required(item, 'ifname') }));
}

function required(fields: Fields, key: string): string {
  const value = stringField(fields, key);
  if (value === undefined || value === '') throw wrongField(pathOf(fields, key), value, 'a text that is not empty');
  return value;
}
