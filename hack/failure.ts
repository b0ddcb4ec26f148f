/** Why a test failed, as it is said once more at the end of a run. */

/**
 * The errors behind one, each with its stack, in no more than `limit` lines: what a property test found is in the cause of its
 * error.
 */
export function reasonLines(error: unknown, limit: number): string[] {
  const errors = chainOf(error);
  const each = Math.max(1, Math.floor(limit / errors.length));
  return errors.flatMap((one, index) => {
    const lines = textOf(one).split('\n');
    const shown =
      lines.length > each ? [...lines.slice(0, each - 1), `… ${lines.length - each + 1} lines more`] : lines;
    return index === 0 ? shown : [`because of ${shown[0]}`, ...shown.slice(1)];
  });
}

/** The runner's own wrapper says nothing, so its cause comes first. */
function chainOf(error: unknown): readonly unknown[] {
  const chain: unknown[] = [];
  for (let next = isWrapper(error) ? error.cause : error; next !== undefined && !chain.includes(next);) {
    chain.push(next);
    next = next instanceof Error ? next.cause : undefined;
  }
  return chain;
}

function isWrapper(error: unknown): error is Error & { readonly cause: unknown } {
  return error instanceof Error && 'failureType' in error && error.cause !== undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
