/** Checks every import of the project against the table in `layers.ts`. Exits 1 and names each violation. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { ANYTHING, LAYERS, type Layer } from './layers.ts';
import { projectFiles } from './project-files.ts';

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** The room that `file` belongs to: the longest entry of the table that covers it. */
export function roomOf(file: string): Layer | undefined {
  const covering = LAYERS.filter((layer) => file === layer.room || file.startsWith(`${layer.room}/`));
  return covering.sort((a, b) => b.room.length - a.room.length)[0];
}

/** Violations of one file's imports. `file` is relative to the repository; unit tests may import test helpers too. */
export function checkFile(file: string, text: string): Violation[] {
  const room = roomOf(file);
  if (room === undefined) return [{ file, line: 1, message: 'stands in no room of hack/layers.ts' }];
  const isTest = file.endsWith('.test.ts');
  const violations: Violation[] = [];
  for (const { fileName, pos } of ts.preProcessFile(text, true, true).importedFiles) {
    if (!fileName.startsWith('.')) continue;
    const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), fileName));
    const allowed = isTest && target.startsWith('test/') ? true : mayImport(room, target);
    if (allowed) continue;
    const line = text.slice(0, pos).split('\n').length;
    violations.push({ file, line, message: `${room.room} may not import ${target}` });
  }
  return violations;
}

function mayImport(room: Layer, target: string): boolean {
  if (target === room.room || target.startsWith(`${room.room}/`)) return true;
  const targetRoom = roomOf(target);
  // `hack` and `test` may import anything, and nothing imports them.
  if (targetRoom !== undefined && ['hack', 'test'].includes(targetRoom.room)) return false;
  return room.may.some((may) => may === ANYTHING || target === may || target.startsWith(`${may}/`));
}

export function checkLayers(root: string): Violation[] {
  return projectFiles(root, ['.ts']).flatMap((file) => {
    // `test` and `hack` know each other: the harness is shared.
    if (file.startsWith('hack/') || file.startsWith('test/')) return [];
    return checkFile(file, readFileSync(path.join(root, file), 'utf8'));
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const violations = checkLayers(path.resolve(import.meta.dirname, '..'));
  for (const v of violations) console.error(`${v.file}:${v.line}: ${v.message}`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}
