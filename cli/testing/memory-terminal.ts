import { Writable } from 'node:stream';
import type { Terminal } from '../terminal.ts';

/** A terminal that keeps what is written to it. For tests. */
export class MemoryTerminal implements Terminal {
  readonly stdout = new MemoryStream();
  readonly stderr = new MemoryStream();
  readonly env: NodeJS.ProcessEnv = {};
  readonly #stop = new AbortController();

  /** A moment after what `models.ts` tells of. */
  readonly now = (): number => Date.parse('2026-11-23T10:00:30Z');

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** What Ctrl-C does. */
  interrupt(): void {
    this.#stop.abort();
  }
}

class MemoryStream extends Writable {
  text = '';
  isTTY = false;
  /** Called after each write. */
  onWrite: () => void = () => undefined;

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    this.onWrite();
    done();
  }
}
