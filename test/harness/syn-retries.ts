import { readFileSync } from 'node:fs';

/**
 * The kernel sends a SYN that was not answered again after a second of its own clock, which runs ahead where it fell behind
 * before. What took less than this was answered at once.
 */
export const SYN_TIMEOUT_MS = 800;

/** SYNs that this network namespace has sent more than once. */
export function lostSyns(): number {
  const [names, values] = readFileSync('/proc/self/net/netstat', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values![names!.indexOf('TCPSynRetrans')]);
}
