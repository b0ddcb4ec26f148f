/**
 * The process that plays a pod's (or the world's) programs inside its network namespace. It is driven over IPC: serves
 * TCP and UDP echo, connects, keeps connections open, pings, watches flows.
 */
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import net from 'node:net';
import { countdown } from './countdown.ts';
import { ask, serveName } from './named-service.ts';
import { exchange, tcp, udp } from './exchange.ts';
import { FlowLoop } from './flow-loop.ts';
import type { Command, Reply } from './pod-protocol.ts';

const held = new Map<number, net.Socket>();
let nextHold = 1;
let flows: FlowLoop | undefined;

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
    case 'watch-flows':
      flows?.stop();
      flows = new FlowLoop(command.flows);
      return 'ok';
    case 'probes':
      return JSON.stringify(flows?.take() ?? { ended: [], underWay: [] });
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
      stop();
      socket.destroy();
      resolve(result);
    };
    const stop = countdown(timeoutMs, () => finish(`timeout, ${left} bytes left`));
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
