import type { Writable } from 'node:stream';

/** Where the CLI runs: a real terminal, or what a test puts in its place. */
export interface Terminal {
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Aborts when the person has had enough (SIGINT, SIGTERM) or nobody reads on. */
  readonly signal: AbortSignal;
}
