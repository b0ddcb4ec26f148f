import { readFileSync } from 'node:fs';
import { WeirError } from '../model/errors.ts';
import { NAT_FIRST_PORT } from '../../bpf/gen/constants.ts';

const SETTING = '/proc/sys/net/ipv4/ip_local_port_range';

/**
 * Looks whether the node's own sockets get ports that connections under its address use: each then takes the other's answers.
 *
 * @param read says what the kernel's setting is, as text
 * @throws WeirError PORTS_OVERLAP
 */
export function requireSeparatePorts(read = (): string => readFileSync(SETTING, 'utf8')): void {
  const last = Number(read().trim().split(/\s+/)[1]);
  if (last < NAT_FIRST_PORT) return;
  throw new WeirError(
    'PORTS_OVERLAP',
    `the node's own sockets get ports up to ${last}, and connections under its address those from ${NAT_FIRST_PORT} on`,
    { object: 'net.ipv4.ip_local_port_range', remedy: `let it end at ${NAT_FIRST_PORT - 1}` },
  );
}
