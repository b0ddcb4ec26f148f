/** Clears what killed runs left behind: namespaces, bpffs pins, temporary folders, cgroups, by the pid in their names. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { cgroupFolders, isEmptyCgroup, removeCgroup } from './cgroup.ts';
import { tryRun } from './exec.ts';
import { isOrphan, PREFIX } from './run.ts';

/** Removes every orphan and returns its name. */
export function sweep(): string[] {
  const swept: string[] = [];
  for (const name of orphansIn('/run/netns')) {
    tryRun(['ip', 'netns', 'del', name]);
    swept.push(name);
  }
  for (const folder of ['/sys/fs/bpf', tmpdir()]) {
    for (const name of orphansIn(folder)) {
      rmSync(path.join(folder, name), { recursive: true, force: true });
      swept.push(name);
    }
  }
  for (const folder of cgroupFolders(`${PREFIX}-*`)) {
    if (!isOrphan(path.basename(folder)) || !isEmptyCgroup(folder)) continue;
    removeCgroup(folder);
    swept.push(folder);
  }
  return swept;
}

function orphansIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter(isOrphan) : [];
}
