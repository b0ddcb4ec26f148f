/** What the test tells a pod's process to do. */
export type Command =
  /**
   * Serve TCP and UDP echo on `port`, at these addresses, or at all. At all, the kernel chooses the address that a UDP answer
   * comes from, which on a host of many addresses need not be the one that was asked.
   */
  | { readonly op: 'serve'; readonly port: number; readonly addresses?: readonly string[] }
  /** One exchange over a new connection or socket; the result is `ok`, `timeout`, `ECONNREFUSED` … */
  | {
      readonly op: 'tcp' | 'udp';
      readonly host: string;
      readonly port: number;
      readonly timeoutMs: number;
      /** Own address to use; the kernel chooses when absent. */
      readonly localAddress?: string;
    }
  /** Answer over TCP and UDP with `name` and the address of whoever asks. */
  | { readonly op: 'serve-name'; readonly port: number; readonly name: string }
  | AskCommand
  | {
      readonly op: 'icmp';
      readonly host: string;
      readonly timeoutMs: number;
      /** Of the echo's data, in bytes; never in fragments when given. */
      readonly bytes?: number;
    }
  /** Sends one datagram, its bytes in hexadecimal, and waits for nothing. */
  | {
      readonly op: 'datagram';
      readonly host: string;
      readonly port: number;
      readonly data: string;
      readonly localAddress?: string;
    }
  /** Sends so many bytes over a new connection and waits until all have come back. */
  | {
      readonly op: 'bulk';
      readonly host: string;
      readonly port: number;
      readonly bytes: number;
      readonly timeoutMs: number;
    }
  /** As `tcp`, but the connection stays open: the result is `held <id>`. */
  | { readonly op: 'hold'; readonly host: string; readonly port: number; readonly timeoutMs: number }
  /** One exchange over a held connection. */
  | { readonly op: 'say'; readonly id: number; readonly timeoutMs: number }
  /** Tries these flows again and again, until told others. */
  | { readonly op: 'watch-flows'; readonly flows: readonly WatchedFlow[] }
  /** What came of the probes since the last time: {@link Probes}, as JSON. */
  | { readonly op: 'probes' };

export interface WatchedFlow {
  /** `udp-kept` goes on over one socket: the kernel takes it for one connection. The others are new each time. */
  readonly transport: 'tcp' | 'udp' | 'udp-kept';
  readonly host: string;
  readonly port: number;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

export interface Probe {
  /** Which of the flows. */
  readonly flow: number;
  /** On the clock of `process.hrtime`, in milliseconds. */
  readonly start: number;
  readonly end: number;
  /** As of `tcp` and `udp`, or `ok, after a SYN was lost`. */
  readonly result: string;
}

export interface Probes {
  /** Those that ended since the last time. */
  readonly ended: readonly Probe[];
  /** For each flow those that are under way, oldest first. */
  readonly underWay: readonly UnderWay[];
}

/** When they began, on the clock of `process.hrtime`, in milliseconds. */
export interface UnderWay {
  readonly oldest?: number;
  /** The youngest of those that an answer would have reached by now. */
  readonly silent?: number;
}

export const LATE_OK = 'ok, after a SYN was lost';

/** Asks a `serve-name`; the result is `<name> <client as the server sees it> <server as the client sees it>`. */
export interface AskCommand {
  readonly op: 'ask';
  /** `udp` names the address with each datagram. */
  readonly transport: 'tcp' | 'udp' | 'udp-connected';
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly localAddress?: string;
  /** UDP: the name of a socket to keep and to use again. */
  readonly socket?: string;
}

export interface Reply {
  readonly seq: number;
  readonly result?: string;
  readonly error?: string;
}
