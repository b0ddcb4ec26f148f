import type { ApiClient } from '../../agent/api/client.ts';
import type { Environment } from '../spec/environment.ts';

/** The part of the agent's API that the plugin uses. */
export type Agent = Pick<
  ApiClient,
  'socket' | 'endpoint' | 'endpoints' | 'endpointHealth' | 'putEndpoint' | 'deleteEndpoint' | 'health'
>;

/**
 * All that the commands need of the program that runs them. Node implements it in `cni/node-runtime.ts`; a smaller
 * JavaScript runtime needs no more than this.
 */
export interface Runtime {
  readonly env: Environment;
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Resolves after `ms` milliseconds, and keeps the process alive until then. */
  sleep(ms: number): Promise<void>;
  /** Speaks to the agent that listens on `socket`, or in its default place. */
  agent(socket: string | undefined): Agent;
  /** All of stdin. */
  readInput(): Promise<string>;
  /** Writes all of `text` to stdout; throws when the reader is gone. */
  write(text: string): void;
  /** Writes a file whole or not at all, making its folder first. */
  writeFile(path: string, text: string): void;
  /** Removes a file; one that does not exist is removed already. */
  removeFile(path: string): void;
  /** Adds to the end of a file, making it first. */
  appendFile(path: string, text: string): void;
  /** For what must not fail the command but somebody should see. */
  warn(text: string): void;
  /** Whether the process has been asked to end (SIGTERM, SIGINT). */
  isTerminated(): boolean;
}
