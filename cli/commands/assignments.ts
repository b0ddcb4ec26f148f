import { UsageError } from '../fault.ts';

/**
 * `NAME=VALUE` words as options.
 *
 * @throws UsageError
 */
export function parseAssignments(words: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    words.map((word): [string, string] => {
      const eq = word.indexOf('=');
      if (eq > 0) return [word.slice(0, eq), word.slice(eq + 1)];
      throw new UsageError(`${JSON.stringify(word)} is not NAME=VALUE`);
    }),
  );
}
