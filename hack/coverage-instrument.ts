/**
 * Kernel programs that note which of their blocks ran: compiled from the sources of the real ones, for the coverage figure only.
 *
 * clang's SanitizerCoverage gives every basic block, and every edge that no block stands for, a byte of a global array, and
 * increments it. What it needs beside that (a constructor, the section's bounds) has no place in an eBPF object, and the
 * increments take registers and wrap around; so the LLVM assembly between compiler and code generator is edited: a block
 * sets its byte to 1, and the arrays are a data section, which libbpf loads as a map.
 */
import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { COVERAGE_MAP } from '../test/datapath/objects.ts';
import { BPF_CPU, clangArguments, stripBpf } from './bpf-compile.ts';

const run = promisify(execFile);

/** Compiles `source` into `object`, with the blocks' bytes in {@link COVERAGE_MAP}. */
export async function compileInstrumented(source: string, object: string): Promise<void> {
  const assembly = `${object}.ll`;
  const pass = ['type=3', 'inline-8bit-counters', 'no-prune'].flatMap((option) => [
    '-Xclang',
    `-fsanitize-coverage-${option}`,
  ]);
  try {
    await run('clang', [...clangArguments(source), ...pass, '-S', '-emit-llvm', source, '-o', assembly]);
    await writeFile(assembly, withPlainCounters(await readFile(assembly, 'utf8')));
    await run('llc', ['-O2', '-march=bpf', `-mcpu=${BPF_CPU}`, '-filetype=obj', assembly, '-o', object]);
    await stripBpf(object);
  } finally {
    await rm(assembly, { force: true });
  }
}

/** Lines of LLVM assembly that belong to the run time of SanitizerCoverage, which eBPF does not have, and its arrays. */
const RUN_TIME =
  /^(@__sancov_gen_|@llvm\.(global_ctors|used|compiler\.used)|\$|declare void @__sanitizer|@__(start|stop)___sancov)/;
const CONSTRUCTOR = /^define internal void @sancov\.module_ctor/;
/** The byte of a block, as the compiler addresses it. */
const COUNTER =
  /(?<=(?:i8\*|ptr) )(?:getelementptr inbounds \([^()]*@__sancov_gen_[^()]*\)|@__sancov_gen_[.\d]*)(?=, align 1)/;

/**
 * The LLVM assembly with a byte of its own for each block, which is set, not incremented. One array would do, but its address
 * would be kept in a register from block to block, and there would be no telling the blocks apart. Pure.
 */
export function withPlainCounters(assembly: string): string {
  const kept: string[] = [];
  const bytes = new Map<string, string>();
  const byteOf = (counter: string): string => {
    if (!bytes.has(counter)) bytes.set(counter, `@coverage.${bytes.size}`);
    return bytes.get(counter)!;
  };
  let constructor = false;
  for (const line of assembly.split('\n')) {
    if (CONSTRUCTOR.test(line)) constructor = true;
    if (!constructor && !RUN_TIME.test(line)) kept.push(withPlainCounter(line, byteOf));
    if (line === '}') constructor = false;
  }
  const section = `section "${COVERAGE_MAP}"`;
  return [...kept, ...[...bytes.values()].map((byte) => `${byte} = private global i8 0, ${section}`), ''].join('\n');
}

function withPlainCounter(line: string, byteOf: (counter: string) => string): string {
  if (line.startsWith('define ')) return line.replace(/ comdat(\(\$[^)]+\))?/, '');
  if (!line.includes('@__sancov_gen_')) return line;
  // What was loaded and incremented is of no use any more, and the code generator leaves it out.
  return line.replace(COUNTER, byteOf).replace(/store i8 %[\w.]+,/, 'store i8 1,');
}
