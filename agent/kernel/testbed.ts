/** What this folder's tests stand on: objects compiled on the spot, and a corner of the BPF file system. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ensureBpffs } from './mount.ts';
import { createNetns, deleteNetns, Netns } from './netns.ts';

/** A name no other test run uses. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${process.pid}-${randomBytes(3).toString('hex')}`;
}

/** Compiles C to a BPF object as the project's own programs are compiled. */
export function compileBpf(source: string): Buffer {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'weir-kernel-'));
  try {
    writeFileSync(path.join(dir, 'test.bpf.c'), source);
    const include = `/usr/include/${os.arch() === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
    const flags = ['-O2', '-g', '-target', 'bpf', '-mcpu=v3', '-Wall', '-Werror', `-I${include}`];
    execFileSync('clang', [...flags, '-c', 'test.bpf.c', '-o', 'test.o'], { cwd: dir });
    execFileSync('llvm-strip', ['-g', 'test.o'], { cwd: dir });
    return readFileSync(path.join(dir, 'test.o'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** A folder of one's own for pins, removed with all it pins when disposed. */
export function pinFolder(): Disposable & { at: (name: string) => string } {
  const folder = path.join('/sys/fs/bpf', uniqueName('weir-test'));
  ensureBpffs('/sys/fs/bpf');
  mkdirSync(folder);
  return {
    at: (name) => path.join(folder, name),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A network namespace of one's own, gone when disposed. */
export function testNetns(): Netns {
  const name = uniqueName('weir-test');
  const file = createNetns(name);
  try {
    // An open descriptor is all it takes to live: without a name, nothing is left behind even by a killed test.
    return Netns.open(file);
  } finally {
    deleteNetns(name);
  }
}
