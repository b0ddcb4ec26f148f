/** A TCP gate before a server, which a test closes to cut off whoever goes through it. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Gate implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #state: { open: boolean };

  private constructor(server: Server, port: number, sockets: Set<Socket>, state: { open: boolean }) {
    this.#server = server;
    this.port = port;
    this.#sockets = sockets;
    this.#state = state;
  }

  /** @param port of a server on loopback */
  static async before(port: number): Promise<Gate> {
    const sockets = new Set<Socket>();
    const state = { open: true };
    const server = createServer((incoming) => {
      if (!state.open) {
        incoming.destroy();
        return;
      }
      const outgoing = connect(port, '127.0.0.1');
      for (const [from, to] of [
        [incoming, outgoing],
        [outgoing, incoming],
      ] as const) {
        sockets.add(from);
        from.pipe(to);
        // Whichever end goes, the other goes with it.
        from.on('error', () => to.destroy());
        from.on('close', () => {
          to.destroy();
          sockets.delete(from);
        });
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    return new Gate(server, typeof address === 'object' && address !== null ? address.port : 0, sockets, state);
  }

  /** Ends all connections, and refuses new ones. */
  close(): void {
    this.#state.open = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  open(): void {
    this.#state.open = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
