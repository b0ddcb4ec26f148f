/**
 * Writes `bpf/gen` from the BTF of the kernel programs: layouts, maps, constants, drop reasons and config variables.
 *
 *   node hack/bpf-gen.ts           brings bpf/gen up to date
 *   node hack/bpf-gen.ts --check   fails when what is committed differs, naming the file and its first differing line
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bpfPrograms, compileBpf } from './bpf-compile.ts';
import { emitAll } from './bpf-emit.ts';
import { BpfObject } from './btf.ts';

/** Generates the texts of `bpf/gen` by compiling the sources under `root` in a scratch folder. */
export async function generateBpf(root: string): Promise<Map<string, string>> {
  const scratch = await mkdtemp(path.join(tmpdir(), 'weir-bpf-gen-'));
  try {
    const compile = async (source: string): Promise<BpfObject> => {
      const object = path.join(scratch, `${path.basename(source, '.c')}.o`);
      await compileBpf(path.join(root, source), object);
      return new BpfObject(await readFile(object));
    };
    const names = bpfPrograms(root);
    const [layout, ...objects] = await Promise.all([
      compile('bpf/lib/layout.c'),
      ...names.map((name) => compile(`bpf/${name}.c`)),
    ]);
    return emitAll(
      layout,
      objects.map((object, i) => ({ name: names[i]!, object })),
    );
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** Files of `bpf/gen` whose text is not `wanted`, with the number of the first line that differs. */
export async function staleFiles(root: string, wanted: ReadonlyMap<string, string>): Promise<Map<string, number>> {
  const stale = new Map<string, number>();
  const present = (await readdir(path.join(root, 'bpf/gen'))).filter((file) => file.endsWith('.ts'));
  for (const file of new Set([...present, ...wanted.keys()])) {
    const text = wanted.get(file)?.split('\n') ?? [];
    const found = present.includes(file) ? (await readFile(path.join(root, 'bpf/gen', file), 'utf8')).split('\n') : [];
    const line = [...text, ''].findIndex((expected, i) => expected !== (found[i] ?? ''));
    if (text.length !== found.length || line >= 0) stale.set(file, line < 0 ? text.length : line + 1);
  }
  return stale;
}

/** Brings `bpf/gen` to `wanted`; files that are right keep their time stamps. */
export async function writeGenerated(root: string, wanted: ReadonlyMap<string, string>): Promise<void> {
  for (const file of (await staleFiles(root, wanted)).keys()) {
    const target = path.join(root, 'bpf/gen', file);
    const text = wanted.get(file);
    if (text === undefined) await rm(target);
    else await writeFile(target, text);
  }
}

if (import.meta.main) {
  const root = path.resolve(import.meta.dirname, '..');
  const wanted = await generateBpf(root);
  if (process.argv.includes('--check')) {
    const stale = await staleFiles(root, wanted);
    for (const [file, line] of stale) {
      console.error(`bpf/gen/${file}:${line}: differs from what bpf/lib says; run \`node hack/bpf-gen.ts\``);
    }
    process.exitCode = stale.size === 0 ? 0 : 1;
  } else {
    await writeGenerated(root, wanted);
  }
}
