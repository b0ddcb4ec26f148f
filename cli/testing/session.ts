/** Scripted goldens: a text that reads like a terminal session, replayed and compared. Pure. */

export interface Exchange {
  /** Words behind `$ weir`, as the shell would split them. */
  readonly words: readonly string[];
  readonly line: string;
  /** Standard output, then standard error lines marked `! `, then `[exit N]` unless it is 0. */
  readonly answer: string;
}

/** What stands before the first command is a remark. */
export function parseSession(text: string): Exchange[] {
  return text
    .split(/^(?=\$ weir)/m)
    .filter((part) => part.startsWith('$ weir'))
    .map((part) => {
      const end = part.indexOf('\n');
      const line = part.slice('$ weir'.length, end).trim();
      return { words: shellWords(line), line, answer: part.slice(end + 1).trimEnd() };
    });
}

/** Splits at spaces, but not inside quotes. */
export function shellWords(line: string): string[] {
  return [...line.matchAll(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|"([^"]*)"/g, '$1$2'),
  );
}

export function formatAnswer(stdout: string, stderr: string, exitCode: number): string {
  const errors = stderr === '' ? '' : stderr.replace(/\n$/, '').replaceAll(/^/gm, '! ') + '\n';
  const exit = exitCode === 0 ? '' : `[exit ${exitCode}]\n`;
  return `${stdout}${errors}${exit}`.trimEnd();
}
