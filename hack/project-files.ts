import { execFileSync } from 'node:child_process';

/** Files of the project, tracked or new but not ignored, relative to `root`, with one of the given endings. */
export function projectFiles(root: string, endings: readonly string[]): string[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
    cwd: root,
    encoding: 'utf8',
  });
  const deleted = new Set(execFileSync('git', ['ls-files', '--deleted'], { cwd: root, encoding: 'utf8' }).split('\n'));
  return listed
    .split('\n')
    .filter((file) => endings.some((ending) => file.endsWith(ending)) && !deleted.has(file))
    .sort();
}
