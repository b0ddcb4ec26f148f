/** A file that says which prefixes belong to which groups of a cloud: the resolver for nodes without the cloud's API. */
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { parseDocument } from 'yaml';
import { parseCidr, type Cidr } from '../model/address.ts';
import { errorText, WeirError } from '../model/errors.ts';
import type { CloudGroup, CloudGroupResolver } from './cloud-groups.ts';

/** Some machines: what the cloud says of them, and where they are. */
interface Member {
  readonly aws: CloudGroup;
  readonly cidrs: readonly Cidr[];
}

export interface CloudGroupFileOptions {
  /** What is wrong with a new version of the file; the one before stays in force. */
  readonly onError: (error: unknown) => void;
  /** How often the file is looked at. A watch would miss a file that is replaced by way of a link, as kubelet does. */
  readonly intervalMs?: number;
}

/**
 * Reads YAML or JSON:
 *
 *     groups:
 *       - aws: { securityGroupsIds: [sg-0a1], region: eu-west-1, labels: { team: shop } }
 *         cidrs: [10.9.0.0/24, "2001:db8::7"]
 *
 * A group of a policy holds the prefixes of every entry that has all that the policy asks for.
 */
export class CloudGroupFile implements CloudGroupResolver {
  readonly #path: string;
  readonly #options: CloudGroupFileOptions;
  #members: readonly Member[];

  /** @throws WeirError CONFIG_INVALID naming the field. */
  constructor(path: string, options: CloudGroupFileOptions) {
    this.#path = path;
    this.#options = options;
    this.#members = readMembers(path);
  }

  resolve(group: CloudGroup): Promise<readonly Cidr[] | undefined> {
    const fitting = this.#members.filter(({ aws }) => fits(group, aws));
    return Promise.resolve(fitting.length === 0 ? undefined : fitting.flatMap(({ cidrs }) => cidrs));
  }

  watch(onChange: () => void): Disposable {
    const look = (): void => {
      try {
        this.#members = readMembers(this.#path);
      } catch (error) {
        this.#options.onError(error);
        return;
      }
      onChange();
    };
    watchFile(this.#path, { persistent: false, interval: this.#options.intervalMs ?? 1000 }, look);
    return { [Symbol.dispose]: () => unwatchFile(this.#path, look) };
  }
}

/** Whether something described by `has` belongs to what a policy asks for. */
function fits(wanted: CloudGroup, has: CloudGroup): boolean {
  const any = (wishes: readonly string[] = [], own: readonly string[] = []): boolean =>
    wishes.length === 0 || wishes.some((wish) => own.includes(wish));
  return (
    (wanted.region === undefined || wanted.region === '' || wanted.region === has.region) &&
    any(wanted.securityGroupsIds, has.securityGroupsIds) &&
    any(wanted.securityGroupsNames, has.securityGroupsNames) &&
    Object.entries(wanted.labels ?? {}).every(([key, value]) => has.labels?.[key] === value)
  );
}

function readMembers(path: string): readonly Member[] {
  const fail = (field: string, message: string): never => {
    throw new WeirError('CONFIG_INVALID', message, { object: path, field });
  };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    return fail('--cloud-groups', `cannot be read: ${errorText(cause)}`);
  }
  const document = parseDocument(text);
  if (document.errors[0] !== undefined) return fail('--cloud-groups', document.errors[0].message);
  const root = record(document.toJS(), ['groups'], '', fail);
  if (!Array.isArray(root['groups'])) return fail('groups', 'must be a list');
  return root['groups'].map((item, i) => member(item, `groups[${i}]`, fail));
}

type Fail = (field: string, message: string) => never;

function member(value: unknown, field: string, fail: Fail): Member {
  const { aws, cidrs } = record(value, ['aws', 'cidrs'], field, fail);
  return { aws: cloudGroup(aws, `${field}.aws`, fail), cidrs: texts(cidrs, `${field}.cidrs`, fail).map(parse) };

  function parse(text: string, i: number): Cidr {
    try {
      return parseCidr(text);
    } catch (error) {
      return fail(`${field}.cidrs[${i}]`, errorText(error));
    }
  }
}

const GROUP_FIELDS = ['region', 'securityGroupsIds', 'securityGroupsNames', 'labels'];

function cloudGroup(value: unknown, field: string, fail: Fail): CloudGroup {
  const { region, securityGroupsIds, securityGroupsNames, labels = {} } = record(value, GROUP_FIELDS, field, fail);
  if (region !== undefined && typeof region !== 'string') return fail(`${field}.region`, 'must be a string');
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels))
    return fail(`${field}.labels`, 'must be a mapping of strings');
  return {
    ...(region !== undefined && { region }),
    securityGroupsIds: texts(securityGroupsIds ?? [], `${field}.securityGroupsIds`, fail),
    securityGroupsNames: texts(securityGroupsNames ?? [], `${field}.securityGroupsNames`, fail),
    labels: Object.fromEntries(
      Object.entries(labels).map(([key, label]: [string, unknown]) => [
        key,
        typeof label === 'string' ? label : fail(`${field}.labels.${key}`, 'must be a string'),
      ]),
    ),
  };
}

function record(value: unknown, fields: readonly string[], field: string, fail: Fail): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return fail(field === '' ? fields[0]! : field, `must be a mapping with ${fields.join(', ')}`);
  const unknown = Object.keys(value).find((key) => !fields.includes(key));
  if (unknown !== undefined)
    return fail(`${field === '' ? '' : `${field}.`}${unknown}`, `unknown field; known are ${fields.join(', ')}`);
  return value as Record<string, unknown>;
}

function texts(value: unknown, field: string, fail: Fail): readonly string[] {
  if (!Array.isArray(value)) return fail(field, 'must be a list of strings');
  return value.map((item: unknown, i) =>
    typeof item === 'string' ? item : fail(`${field}[${i}]`, 'must be a string'),
  );
}
