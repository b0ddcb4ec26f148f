import type { EndpointState } from '../model/endpoint.ts';

/** One thing that happened to an endpoint. */
export interface StatusEntry {
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  readonly code: 'ok' | 'failed';
  readonly message: string;
  readonly state: EndpointState;
}

const CAPACITY = 128;

/** The last things that happened to an endpoint; older ones make place. */
export class StatusLog {
  readonly #entries: StatusEntry[] = [];

  add(entry: StatusEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length > CAPACITY) this.#entries.shift();
  }

  /** Newest first. */
  entries(): readonly StatusEntry[] {
    return this.#entries.toReversed();
  }

  get last(): StatusEntry | undefined {
    return this.#entries.at(-1);
  }
}
