import { existsSync, globSync, statSync } from 'node:fs';
import path from 'node:path';

/** Whether every output exists and none is older than any input. Patterns are globs relative to `root`. */
export function upToDate(root: string, inputs: readonly string[], outputs: readonly string[]): boolean {
  if (outputs.length === 0) return false;
  const oldest = Math.min(...outputs.map((file) => modified(path.join(root, file))));
  const newest = Math.max(...globSync([...inputs], { cwd: root }).map((file) => modified(path.join(root, file))));
  return oldest >= newest;
}

/** Modification time in milliseconds; 0 for a file that does not exist. */
function modified(file: string): number {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}
