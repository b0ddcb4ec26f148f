/** One exchange with an echo server: what came of it is `ok`, `timeout`, or the name of the fault. */
import { createSocket } from 'node:dgram';
import net from 'node:net';
import { countdown } from './countdown.ts';
import type { Command } from './pod-protocol.ts';

type Exchange = Extract<Command, { op: 'tcp' | 'udp' }>;

/** Over a new connection. */
export async function tcp({ host, port, timeoutMs, localAddress }: Exchange): Promise<string> {
  const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
  const result = await exchange(socket, timeoutMs, 'connect');
  socket.destroy();
  return result;
}

/** Sends a line and waits for its echo. */
export function exchange(socket: net.Socket, timeoutMs: number, when: 'connect' | 'now'): Promise<string> {
  const line = `weir ${process.hrtime.bigint()}\n`;
  return new Promise((resolve) => {
    let got = '';
    const stop = countdown(timeoutMs, () => finish('timeout'));
    const onData = (chunk: Buffer): void => {
      got += chunk.toString();
      if (got.endsWith(line)) finish('ok');
    };
    const onError = (error: NodeJS.ErrnoException): void => finish(error.code ?? error.message);
    const onClose = (): void => finish('closed');
    function finish(result: string): void {
      stop();
      socket.off('data', onData).off('error', onError).off('close', onClose);
      if (socket.listenerCount('error') === 0) socket.on('error', () => socket.destroy());
      resolve(result);
    }
    socket.on('data', onData).on('error', onError).on('close', onClose);
    if (when === 'now') socket.write(line);
    else socket.once('connect', () => socket.write(line));
  });
}

/** From a new socket. */
export function udp({ host, port, timeoutMs, localAddress }: Exchange): Promise<string> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const text = `weir ${process.hrtime.bigint()}`;
  return new Promise((resolve) => {
    const finish = (result: string): void => {
      stop();
      socket.close();
      resolve(result);
    };
    const stop = countdown(timeoutMs, () => finish('timeout'));
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.once('message', (message) => finish(message.toString() === text ? 'ok' : 'garbled'));
    socket.bind({ port: 0, ...(localAddress === undefined ? {} : { address: localAddress }) }, () =>
      socket.connect(port, host, () => socket.send(text)),
    );
  });
}
