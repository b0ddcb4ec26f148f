import { WeirError } from '../model/errors.ts';
import { OPTIONS, type Option, type OptionName } from './options.ts';
import type { Settings } from './settings.ts';

/** Typed access to settings; what does not fit is an error that says where it came from. */
export class Reader {
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  optional(name: OptionName): string | undefined {
    const value = this.#settings[name]?.values[0];
    return value === '' ? undefined : value;
  }

  text(name: OptionName): string {
    const option: Option | undefined = OPTIONS.find((candidate) => candidate.name === name);
    return this.#settings[name]?.values[0] ?? option?.default ?? '';
  }

  list(name: OptionName): readonly string[] {
    return this.#settings[name]?.values ?? [];
  }

  flag(name: OptionName): boolean {
    const text = this.#settings[name]?.values[0] ?? 'false';
    return (
      text === 'true' || text === '1' || (text !== 'false' && text !== '0' && this.fail(name, 'must be true or false'))
    );
  }

  optionalNumber(name: OptionName, first: number, last: number): number | undefined {
    return this.optional(name) === undefined ? undefined : this.number(name, first, last);
  }

  number(name: OptionName, first: number, last: number): number {
    const text = this.text(name);
    const value = Number(text);
    if (text !== '' && Number.isInteger(value) && value >= first && value <= last) return value;
    return this.fail(name, `${JSON.stringify(text)} is not a whole number from ${first} to ${last}`);
  }

  /** Milliseconds of a text such as `400ms`, `30s`, `5m` or `1h30m`. */
  duration(name: OptionName): number {
    const text = this.text(name);
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
    const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
    if (text === '0') return 0;
    if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
      return this.fail(name, `${JSON.stringify(text)} is not a duration such as 400ms or 30s`);
    return parts.reduce((sum, [, number, unit]) => sum + Number(number) * units[unit as keyof typeof units], 0);
  }

  oneOf<T extends string>(name: OptionName, values: readonly T[]): T {
    const text = this.text(name);
    const found = values.find((value) => value === text);
    return found ?? this.fail(name, `${JSON.stringify(text)} is not one of ${values.join(', ')}`);
  }

  check<T>(name: OptionName, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      return this.fail(name, error instanceof Error ? error.message : String(error));
    }
  }

  fail(name: OptionName, message: string): never {
    throw new WeirError('CONFIG_INVALID', message, { field: this.#settings[name]?.from ?? `--${name}` });
  }
}
