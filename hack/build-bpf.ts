import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { bpfPrograms, compileBpf, stripBpf } from './bpf-compile.ts';
import { generateBpf, writeGenerated } from './bpf-gen.ts';
import { upToDate } from './up-to-date.ts';

const INPUTS = ['bpf/*.c', 'bpf/lib/*.{c,h}', 'hack/{bpf-*,btf,build-bpf}.ts'];

/**
 * Compiles the programs in `bpf/` into `dist/bpf/*.o` and generates `bpf/gen` from their BTF.
 *
 * @returns false when the objects were newer than everything they are made from
 */
export async function buildBpf(root: string): Promise<boolean> {
  const names = bpfPrograms(root);
  if (upToDate(root, INPUTS, names.map(objectFile))) return false;
  await mkdir(path.join(root, 'dist/bpf'), { recursive: true });
  await writeGenerated(root, await generateBpf(root));
  await Promise.all(names.map((name) => buildObject(root, name)));
  return true;
}

const objectFile = (name: string): string => `dist/bpf/${name}.o`;

/** Whoever loads the object while it is built gets the old one or the new one, never half of it. */
async function buildObject(root: string, name: string): Promise<void> {
  const object = path.join(root, objectFile(name));
  const unfinished = `${object}.${process.pid}.tmp`;
  try {
    await compileBpf(path.join(root, `bpf/${name}.c`), unfinished);
    await stripBpf(unfinished);
    await rename(unfinished, object);
  } finally {
    await rm(unfinished, { force: true });
  }
}
