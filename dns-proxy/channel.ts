/** A way to the other side: JSON lines over a socket, or a worker's port. */
import type { Socket } from 'node:net';
import type { MessagePort, Worker } from 'node:worker_threads';

export interface Channel<Out, In> {
  send(message: Out): void;
  /** To be set at once: what comes before is lost. */
  onMessage: (message: In) => void;
  onClose: () => void;
  close(): void;
}

/** Bytes of a line at most; what is longer is no message of ours. */
const LONGEST_LINE = 64 * 1024 * 1024;

/** What is sent and received is JSON, a message a line. */
export function socketChannel<Out, In>(socket: Socket): Channel<Out, In> {
  const channel: Channel<Out, In> = {
    send: (message) => void socket.write(`${JSON.stringify(message)}\n`),
    onMessage: () => undefined,
    onClose: () => undefined,
    close: () => socket.destroy(),
  };
  let parts: string[] = [];
  let length = 0;
  socket.setEncoding('utf8');
  socket.on('data', (chunk) => {
    const lines = String(chunk).split('\n');
    for (const [i, line] of lines.entries()) {
      parts.push(line);
      length += line.length;
      if (length > LONGEST_LINE) socket.destroy();
      if (i === lines.length - 1) break;
      const text = parts.join('');
      parts = [];
      length = 0;
      const message = parseMessage(text);
      // Whoever speaks something else is not the other side.
      if (message === undefined) {
        socket.destroy();
        return;
      }
      channel.onMessage(message as In);
    }
  });
  // What an error says, the close says as well.
  socket.on('error', () => undefined);
  socket.on('close', () => channel.onClose());
  return channel;
}

export function portChannel<Out, In>(port: MessagePort | Worker): Channel<Out, In> {
  const channel: Channel<Out, In> = {
    send: (message) => port.postMessage(message),
    onMessage: () => undefined,
    onClose: () => undefined,
    close: () => ('close' in port ? port.close() : void port.terminate()),
  };
  port.on('message', (message) => channel.onMessage(message as In));
  port.on('close', () => channel.onClose());
  port.on('exit', () => channel.onClose());
  return channel;
}

/** The object of a line; undefined when it is none. */
function parseMessage(text: string): object | undefined {
  try {
    const message: unknown = JSON.parse(text);
    return typeof message === 'object' && message !== null ? message : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
