/** What the test tells a pod's process to do. */
export type Command =
  /** Serve TCP and UDP echo on `port`, v4 and v6. */
  | { readonly op: 'serve'; readonly port: number }
  /** One exchange over a new connection or socket; the result is `ok`, `timeout`, `ECONNREFUSED` … */
  | {
      readonly op: 'tcp' | 'udp';
      readonly host: string;
      readonly port: number;
      readonly timeoutMs: number;
      /** Own address to use; the kernel chooses when absent. */
      readonly localAddress?: string;
    }
  | { readonly op: 'icmp'; readonly host: string; readonly timeoutMs: number }
  /** As `tcp`, but the connection stays open: the result is `held <id>`. */
  | { readonly op: 'hold'; readonly host: string; readonly port: number; readonly timeoutMs: number }
  /** One exchange over a held connection. */
  | { readonly op: 'say'; readonly id: number; readonly timeoutMs: number };

export interface Reply {
  readonly seq: number;
  readonly result?: string;
  readonly error?: string;
}
