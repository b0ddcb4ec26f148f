import { appendFileSync, mkdirSync, readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { ApiClient } from '../agent/api/client.ts';
import type { Runtime } from './commands/runtime.ts';

/** A STATUS, or any call without a deadline of its own, may take this long. */
const CALL_TIMEOUT_MS = 10_000;

const STDIN = 0;
const STDOUT = 1;

/** The commands' view of this Node process. */
export function nodeRuntime(): Runtime {
  let terminated = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => (terminated = true));
  return {
    env: process.env,
    now: () => Date.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    agent: (socket) => new ApiClient(socket, CALL_TIMEOUT_MS),
    readInput,
    write: (text) => writeAll(STDOUT, text),
    writeFile: (path, text) => {
      mkdirSync(path.replace(/\/[^/]*$/, ''), { recursive: true, mode: 0o700 });
      const unfinished = `${path}.${process.pid}.tmp`;
      writeFileSync(unfinished, text, { mode: 0o600 });
      renameSync(unfinished, path);
    },
    removeFile: (path) => rmSync(path, { force: true }),
    appendFile: (path, text) => appendFileSync(path, text, { mode: 0o600 }),
    warn: (text) => void process.stderr.write(`weir-cni: ${text}\n`),
    isTerminated: () => terminated,
  };
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafe(64 * 1024);
      const length = readSync(STDIN, chunk);
      if (length === 0) return Buffer.concat(chunks).toString();
      chunks.push(chunk.subarray(0, length));
    }
  } catch (error) {
    // A runtime may hand over a pipe in non-blocking mode: wait for the rest of it.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  }
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Synchronous, so that a reader that is gone is an error here (EPIPE) and not after the process has ended. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let sent = 0; sent < bytes.length;) sent += writeSync(fd, bytes, sent);
}
