/** The sockets that the datapath gives pods' queries to: one port on loopback, for UDP and TCP, IPv4 and IPv6. */
import { closeFile } from '../agent/kernel/libc.ts';
import { isErrno } from '../agent/kernel/errno.ts';
import { boundPort, openSocket } from '../agent/kernel/socket.ts';
import { parseAddress } from '../agent/model/address.ts';
import { LISTENER_MARK } from './marks.ts';

const EADDRINUSE = 98;
const LOOPBACK = { 4: parseAddress('127.0.0.1'), 6: parseAddress('::1') } as const;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
const ATTEMPTS = 64;

export interface Listeners {
  readonly port: number;
  readonly udp: Readonly<Record<4 | 6, number>>;
  readonly tcp: Readonly<Record<4 | 6, number>>;
}

/**
 * Opens all four on `preferred`, or on any port when that is taken or 0. The descriptors are the caller's.
 *
 * @throws KernelError SYSCALL_FAILED
 */
export function openListeners(preferred: number): Listeners {
  const wanted = preferred === 0 ? [] : [preferred];
  for (let attempt = 0; ; attempt++) {
    const opened: number[] = [];
    try {
      return openOn(wanted.shift() ?? 0, opened);
    } catch (error) {
      opened.forEach(closeFile);
      // Port 0 gives one that is free for the first, and perhaps taken for another.
      if (!isErrno(error, EADDRINUSE) || attempt === ATTEMPTS) throw error;
    }
  }
}

function openOn(port: number, opened: number[]): Listeners {
  const open = (protocol: 'udp' | 'tcp', family: 4 | 6, on: number): number => {
    const udp = protocol === 'udp';
    const fd = openSocket({
      ...{
        protocol,
        bind: { address: LOOPBACK[family], port: on },
        transparent: true,
        mark: LISTENER_MARK,
        exclusive: true,
      },
      ...(udp && { originalDestination: true, receiveBuffer: RECEIVE_BUFFER }),
    });
    opened.push(fd);
    return fd;
  };
  const udp4 = open('udp', 4, port);
  const common = port === 0 ? boundPort(udp4) : port;
  return {
    port: common,
    udp: { 4: udp4, 6: open('udp', 6, common) },
    tcp: { 4: open('tcp', 4, common), 6: open('tcp', 6, common) },
  };
}
