/** How the kernel programs are compiled. */
import { execFile } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The instruction set that the programs are written in: what Linux 5.1 and later know. */
export const BPF_CPU = 'v3';

/** Programs: every `bpf/bpf_*.c`, by the name of its object. */
export function bpfPrograms(root: string): string[] {
  return globSync('bpf/bpf_*.c', { cwd: root })
    .map((file) => path.basename(file, '.c'))
    .sort();
}

/**
 * Compiles one C file to an eBPF object with BTF. The kernel's user-space headers are its only types: the object has no
 * CO-RE relocations, loads in a few milliseconds and does not depend on the kernel that built it.
 */
export async function compileBpf(source: string, object: string): Promise<void> {
  await run('clang', [...clangArguments(source), '-c', source, '-o', object]);
}

/** What makes a source of the project an eBPF program, whatever the compiler is to write. */
export function clangArguments(source: string): string[] {
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const warnings = ['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-Wno-missing-braces'];
  return [
    ...['-O2', '-g', '-std=gnu11', '-target', 'bpf', `-mcpu=${BPF_CPU}`, ...warnings],
    // Debian keeps asm/types.h in the multiarch folder, which a cross compiler does not search.
    ...['-idirafter', `/usr/include/${architecture}-linux-gnu`],
    // The path of the build is nobody's business: without this it lands in .BTF.ext and in the object's bytes.
    `-ffile-prefix-map=${path.dirname(path.dirname(source))}=.`,
  ];
}

/** Removes DWARF, which the kernel does not read; BTF stays. */
export async function stripBpf(object: string): Promise<void> {
  await run('llvm-strip', ['-g', object]);
}
