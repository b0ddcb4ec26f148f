/**
 * The process that plays a pod's (or the world's) programs inside its network namespace. It is driven over IPC: serves
 * TCP and UDP echo, connects, keeps connections open, pings.
 */
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import net from 'node:net';
import { ask, serveName } from './named-service.ts';
import type { Command, Reply } from './pod-protocol.ts';

const held = new Map<number, net.Socket>();
let nextHold = 1;

async function handle(command: Command): Promise<string> {
  switch (command.op) {
    case 'serve':
      for (const address of command.addresses ?? ['::']) await serve(command.port, address);
      return 'ok';
    case 'serve-name':
      return await serveName(command.port, command.name);
    case 'ask':
      return await ask(command);
    case 'tcp':
      return await tcp(command);
    case 'udp':
      return await udp(command);
    case 'icmp':
      return await icmp(command);
    case 'datagram':
      return await datagram(command);
    case 'bulk':
      return await bulk(command);
    case 'hold':
      return await hold(command.host, command.port, command.timeoutMs);
    case 'say':
      return await say(command.id, command.timeoutMs);
  }
}

async function serve(port: number, address: string): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(port, address, resolve));
  const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4' });
  socket.on('message', (message, peer) => socket.send(message, peer.port, peer.address));
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.bind(port, address, resolve);
  });
}

type Exchange = Extract<Command, { op: 'tcp' | 'udp' }>;

async function tcp({ host, port, timeoutMs, localAddress }: Exchange): Promise<string> {
  const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
  const result = await exchange(socket, timeoutMs, 'connect');
  socket.destroy();
  return result;
}

async function hold(host: string, port: number, timeoutMs: number): Promise<string> {
  const socket = net.connect({ host, port });
  const result = await exchange(socket, timeoutMs, 'connect');
  if (result !== 'ok') {
    socket.destroy();
    return result;
  }
  socket.on('error', () => socket.destroy());
  held.set(nextHold, socket);
  return `held ${nextHold++}`;
}

async function say(id: number, timeoutMs: number): Promise<string> {
  const socket = held.get(id);
  if (socket === undefined) return 'no such connection';
  return socket.destroyed ? 'closed' : await exchange(socket, timeoutMs, 'now');
}

/** Sends a line and waits for its echo. */
function exchange(socket: net.Socket, timeoutMs: number, when: 'connect' | 'now'): Promise<string> {
  const line = `weir ${process.hrtime.bigint()}\n`;
  return new Promise((resolve) => {
    let got = '';
    const timer = setTimeout(() => finish('timeout'), timeoutMs);
    const onData = (chunk: Buffer): void => {
      got += chunk.toString();
      if (got.endsWith(line)) finish('ok');
    };
    const onError = (error: NodeJS.ErrnoException): void => finish(error.code ?? error.message);
    const onClose = (): void => finish('closed');
    function finish(result: string): void {
      clearTimeout(timer);
      socket.off('data', onData).off('error', onError).off('close', onClose);
      if (socket.listenerCount('error') === 0) socket.on('error', () => socket.destroy());
      resolve(result);
    }
    socket.on('data', onData).on('error', onError).on('close', onClose);
    if (when === 'now') socket.write(line);
    else socket.once('connect', () => socket.write(line));
  });
}

function udp({ host, port, timeoutMs, localAddress }: Exchange): Promise<string> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const text = `weir ${process.hrtime.bigint()}`;
  return new Promise((resolve) => {
    const finish = (result: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(() => finish('timeout'), timeoutMs);
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.once('message', (message) => finish(message.toString() === text ? 'ok' : 'garbled'));
    socket.bind({ port: 0, ...(localAddress === undefined ? {} : { address: localAddress }) }, () =>
      socket.connect(port, host, () => socket.send(text)),
    );
  });
}

function datagram({ host, port, data, localAddress }: Extract<Command, { op: 'datagram' }>): Promise<string> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.bind({ port: 0, ...(localAddress === undefined ? {} : { address: localAddress }) }, () => {
      socket.send(Buffer.from(data, 'hex'), port, host, (error) => {
        socket.close();
        if (error === null) resolve('ok');
        else reject(error);
      });
    });
  });
}

function bulk({ host, port, bytes, timeoutMs }: Extract<Command, { op: 'bulk' }>): Promise<string> {
  const socket = net.connect({ host, port });
  return new Promise((resolve) => {
    let left = bytes;
    const finish = (result: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish(`timeout, ${left} bytes left`), timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left <= 0) finish('ok');
    });
    socket.write(Buffer.alloc(bytes));
  });
}

function icmp({ host, timeoutMs, bytes }: Extract<Command, { op: 'icmp' }>): Promise<string> {
  const size = bytes === undefined ? [] : ['-M', 'do', '-s', String(bytes)];
  const args = ['-n', '-c', '1', '-W', (timeoutMs / 1000).toFixed(2), ...size, host];
  return new Promise((resolve) => {
    execFile('ping', args, (error, stdout) => {
      if (error === null) resolve('ok');
      else resolve(/100% packet loss/.test(stdout) ? 'timeout' : stdout.trim() || error.message);
    });
  });
}

process.on('message', (message) => {
  const command = message as Command & { seq: number };
  handle(command).then(
    (result) => process.send!({ seq: command.seq, result } satisfies Reply),
    (error: unknown) => process.send!({ seq: command.seq, error: String(error) } satisfies Reply),
  );
});
process.on('disconnect', () => process.exit(0));
process.send!({ seq: 0, result: 'ready' } satisfies Reply);
