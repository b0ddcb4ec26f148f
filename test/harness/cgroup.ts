import { globSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';

/** Folders of all cgroups of the first level whose name matches a glob, in every hierarchy that is mounted, v1 and v2. */
export function cgroupFolders(pattern: string): string[] {
  return globSync(`/sys/fs/cgroup/{,*/}${pattern}`);
}

/** Whether no process is left in a cgroup, nor in those below it. */
export function isEmptyCgroup(folder: string): boolean {
  return withChildren(folder).every((each) => readFileSync(path.join(each, 'cgroup.procs'), 'utf8') === '');
}

/** Makes a cgroup v2 below the topmost one that is mounted, and returns its folder. */
export function makeCgroup(name: string): string {
  const root = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(' - cgroup2 '))
    .map((line) => line.split(' ')[4]!)
    .sort((a, b) => a.length - b.length)[0];
  if (root === undefined) throw new Error('cgroup v2 is not mounted');
  const folder = path.join(root, name);
  mkdirSync(folder);
  return folder;
}

/** Removes an empty cgroup with all below it. */
export function removeCgroup(folder: string): void {
  for (const each of withChildren(folder)) rmdirSync(each);
}

/** Children first. */
function withChildren(folder: string): string[] {
  return [folder, ...globSync(path.join(folder, '**/*/'))].sort((a, b) => b.length - a.length);
}
