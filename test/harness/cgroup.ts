import { globSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';

/** Folders of all cgroups of the first level whose name matches a glob, in every hierarchy that is mounted, v1 and v2. */
export function cgroupFolders(pattern: string): string[] {
  return globSync(`/sys/fs/cgroup/{,*/}${pattern}`);
}

/** Whether no process is left in a cgroup, nor in those below it. */
export function isEmptyCgroup(folder: string): boolean {
  return withChildren(folder).every((each) => readFileSync(path.join(each, 'cgroup.procs'), 'utf8') === '');
}

/** Removes an empty cgroup with all below it. */
export function removeCgroup(folder: string): void {
  for (const each of withChildren(folder)) rmdirSync(each);
}

/** Children first. */
function withChildren(folder: string): string[] {
  return [folder, ...globSync(path.join(folder, '**/*/'))].sort((a, b) => b.length - a.length);
}
