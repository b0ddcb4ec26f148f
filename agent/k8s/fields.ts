import { parseAddress, parseCidr, type Address, type Cidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { PROTOCOL } from '../model/port.ts';
import { resourceName, type Resource, type ResourceKind } from '../model/resource.ts';
import { isRecord, wanted } from './object-meta.ts';

/**
 * Reads the fields of one mapping of an object, and names the field when it is not what it should be. A field that is
 * null counts as absent, as in an API server. Every method throws WeirError RESOURCE_INVALID.
 */
export class Fields {
  readonly #resource: Resource;
  readonly #path: string;
  readonly #value: Readonly<Record<string, unknown>>;

  private constructor(resource: Resource, path: string, value: Readonly<Record<string, unknown>>) {
    this.#resource = resource;
    this.#path = path;
    this.#value = value;
  }

  /** The whole object; a fault when it is of another kind. */
  static of(resource: Resource, kind: ResourceKind): Fields {
    const fields = new Fields(resource, '', resource.object);
    if (resource.kind !== kind) fields.fail('kind', `must be ${kind}`);
    return fields;
  }

  /** Path of one field in the whole object, such as `spec.ports[0].name`. */
  pathOf(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }

  /** Throws that the field is at fault. */
  fail(name: string, message: string, cause?: unknown): never {
    const field = this.pathOf(name);
    const at = this.#resource.positionOf?.(field);
    const place = at === undefined ? '' : ` at ${at.file}:${at.line}:${at.column}`;
    throw new WeirError('RESOURCE_INVALID', `${message}${place}`, {
      object: resourceName(this.#resource),
      field,
      cause,
    });
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  isString(name: string): boolean {
    return typeof this.#get(name) === 'string';
  }

  string(name: string): string {
    return this.optionalString(name) ?? this.fail(name, 'is missing');
  }

  optionalString(name: string): string | undefined {
    const value = this.#get(name);
    if (value === undefined || typeof value === 'string') return value;
    return this.fail(name, wanted(value, 'a string'));
  }

  /** One of a few texts. */
  oneOf<T extends string>(name: string, allowed: readonly T[], absent: T): T {
    const value = this.optionalString(name) ?? absent;
    const found = allowed.find((candidate) => candidate === value);
    return found ?? this.fail(name, `must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`);
  }

  boolean(name: string, absent: boolean): boolean {
    const value = this.#get(name);
    if (value === undefined) return absent;
    return typeof value === 'boolean' ? value : this.fail(name, wanted(value, 'true or false'));
  }

  /** A whole number between `min` and `max`, both inclusive. */
  integer(name: string, min: number, max: number): number {
    return this.optionalInteger(name, min, max) ?? this.fail(name, 'is missing');
  }

  optionalInteger(name: string, min: number, max: number): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    return this.fail(name, wanted(value, `a whole number from ${min} to ${max}`));
  }

  /** IANA number of a `protocol` field, which Kubernetes lets default to TCP. */
  protocol(name = 'protocol'): number {
    return PROTOCOL[this.oneOf(name, ['TCP', 'UDP', 'SCTP'], 'TCP')];
  }

  /** A mapping inside this one; an absent one is empty. */
  object(name: string): Fields {
    const value = this.#get(name);
    if (value !== undefined && !isRecord(value)) this.fail(name, wanted(value, 'a mapping'));
    return new Fields(this.#resource, this.pathOf(name), value ?? {});
  }

  /** A list of mappings; an absent one is empty. */
  objects(name: string): Fields[] {
    return this.#list(name).map((item, i) => {
      if (!isRecord(item)) return this.fail(`${name}[${i}]`, wanted(item, 'a mapping'));
      return new Fields(this.#resource, this.pathOf(`${name}[${i}]`), item);
    });
  }

  /** A list of texts; an absent one is empty. */
  strings(name: string): string[] {
    return this.#list(name).map((item, i) => {
      return typeof item === 'string' ? item : this.fail(`${name}[${i}]`, wanted(item, 'a string'));
    });
  }

  /** A mapping of texts; an absent one is empty, and so is an absent value. */
  stringMap(name: string): ReadonlyMap<string, string> {
    const value = this.#get(name);
    if (value === undefined) return new Map();
    if (!isRecord(value)) return this.fail(name, wanted(value, 'a mapping'));
    const entries = Object.entries(value).map(([key, text]): [string, string] => {
      if (text === null) return [key, ''];
      return [
        key,
        typeof text === 'string' ? text : this.fail(`${name}[${JSON.stringify(key)}]`, wanted(text, 'a string')),
      ];
    });
    return new Map(entries);
  }

  address(name: string): Address {
    return this.parsed(name, this.string(name), parseAddress);
  }

  optionalAddress(name: string): Address | undefined {
    const text = this.optionalString(name);
    return text === undefined || text === '' ? undefined : this.parsed(name, text, parseAddress);
  }

  addresses(name: string): Address[] {
    return this.strings(name).map((text, i) => this.parsed(`${name}[${i}]`, text, parseAddress));
  }

  cidrs(name: string): Cidr[] {
    return this.strings(name).map((text, i) => this.parsed(`${name}[${i}]`, text, parseCidr));
  }

  /** `parse(text)`, whose faults become faults of the field. */
  parsed<T>(name: string, text: string, parse: (text: string) => T): T {
    try {
      return parse(text);
    } catch (thrown) {
      if (!(thrown instanceof WeirError)) throw thrown;
      return this.fail(name, thrown.message, thrown);
    }
  }

  #get(name: string): unknown {
    return this.#value[name] ?? undefined;
  }

  #list(name: string): readonly unknown[] {
    const value = this.#get(name);
    if (value === undefined) return [];
    return Array.isArray(value) ? (value as readonly unknown[]) : this.fail(name, wanted(value, 'a list'));
  }
}
