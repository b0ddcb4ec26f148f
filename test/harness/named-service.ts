/** Servers that say who they are and who asks, and clients that tell what they heard, over TCP and UDP. Run in a pod. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import net from 'node:net';
import { countdown } from './countdown.ts';
import type { AskCommand } from './pod-protocol.ts';

const udpSockets = new Map<string, UdpSocket>();

/** Answers anything with `<name> <address of the client>`. */
export async function serveName(port: number, name: string): Promise<string> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', () => socket.write(`${name} ${plain(socket.remoteAddress ?? '')}\n`));
  });
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(port, '::', resolve));
  const socket = createSocket({ type: 'udp6' });
  socket.on('message', (_message, peer) =>
    socket.send(`${name} ${plain(peer.address)}\n`, peer.port, peer.address, () => undefined),
  );
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.bind(port, '::', resolve);
  });
  return 'ok';
}

/**
 * Asks once. The answer is `<server> <client's address as the server sees it> <whom the client believes to speak to>`,
 * or what went wrong.
 */
export async function ask(command: AskCommand): Promise<string> {
  return command.transport === 'tcp' ? await askTcp(command) : await askUdp(command);
}

function askTcp({ host, port, timeoutMs, localAddress }: AskCommand): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
    const finish = (result: string): void => {
      stop();
      socket.destroy();
      resolve(result);
    };
    const stop = countdown(timeoutMs, () => finish('timeout'));
    socket.on('connect', () => socket.write('who\n'));
    socket.on('data', (data) =>
      finish(`${data.toString().trim()} ${peerText(socket.remoteAddress, socket.remotePort)}`),
    );
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('close', () => finish('closed'));
  });
}

/** A socket per `socket` name is kept open and used again; without a name there is one for this question alone. */
async function askUdp(command: AskCommand): Promise<string> {
  const { host, port, timeoutMs, transport, socket: name } = command;
  const socket = (name === undefined ? undefined : udpSockets.get(name)) ?? (await openUdp(command));
  if (name !== undefined) udpSockets.set(name, socket);
  const answer = new Promise<string>((resolve) => {
    const finish = (result: string): void => {
      stop();
      socket.off('message', onMessage).off('error', onError);
      resolve(result);
    };
    const onMessage = (data: Buffer, from: RemoteInfo): void =>
      finish(`${data.toString().trim()} ${peerText(from.address, from.port)}`);
    const onError = (error: NodeJS.ErrnoException): void => finish(error.code ?? error.message);
    const stop = countdown(timeoutMs, () => finish('timeout'));
    socket.on('message', onMessage).on('error', onError);
    const sent = (error: Error | null): void => {
      if (error !== null) onError(error);
    };
    if (transport === 'udp') socket.send('who', port, host, sent);
    else socket.send('who', sent);
  });
  const result = await answer;
  if (name === undefined) socket.close();
  return result;
}

async function openUdp({ host, port, transport, localAddress }: AskCommand): Promise<UdpSocket> {
  const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4' });
  // Late answers to questions that nobody waits for any more.
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) =>
    socket.bind({ port: 0, ...(localAddress === undefined ? {} : { address: localAddress }) }, resolve),
  );
  if (transport === 'udp-connected') {
    await new Promise<void>((resolve, reject) => {
      socket.connect(port, host, (error?: Error) => (error === undefined ? resolve() : reject(error)));
    });
  }
  return socket;
}

/** An IPv4 address without the prefix that IPv6 sockets give it. */
const plain = (address: string): string => address.replace(/^::ffff:/, '');

function peerText(address = '', port = 0): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
