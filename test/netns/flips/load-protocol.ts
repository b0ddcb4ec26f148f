/** Packets of a flow in each round. */
export const EACH = 2;

/** One flow over one address family. */
export interface LoadWire {
  /** Path of the sender's network namespace. */
  readonly netns: string;
  readonly from: string;
  readonly to: string;
  readonly port: number;
  /** Every policy allows it. */
  readonly always: boolean;
}

export interface LoadSetup {
  /** Path of the receiver's network namespace. */
  readonly server: string;
  readonly wires: readonly LoadWire[];
  /** Nanoseconds between the beginnings of two rounds. */
  readonly roundNs: number;
  /** After so many nothing more is sent. */
  readonly maxRounds: number;
}

export type LoadCommand =
  | { readonly op: 'start'; readonly setup: LoadSetup }
  /** Answered when a round that began after the command has arrived. */
  | { readonly op: 'round' }
  | { readonly op: 'stop' };

/** What was sent and what arrived. */
export interface LoadReport {
  readonly rounds: number;
  /** When each began, on the clock of `process.hrtime`; nanoseconds. */
  readonly started: readonly number[];
  /** When the last of its packets that is always allowed had been read; 0 when one was lost. */
  readonly ended: readonly number[];
  /** Base64 of a byte for each round and wire: a bit for each packet that arrived. */
  readonly arrived: string;
  /** Packets that arrived more than once. */
  readonly repeated: number;
  /** Packets that the kernel did not take. */
  readonly unsent: number;
}

export interface LoadReply {
  readonly seq: number;
  readonly report?: LoadReport;
}
