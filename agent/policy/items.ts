/** Filters as items: what one of them says about its peers, on the ports that it means. */
import type { Direction } from '../model/mapstate.ts';
import { protocolName } from '../model/port.ts';
import type { NamedPort, Redirect } from './contract.ts';
import { AUTH_TYPE, type Entry, type Item } from './entry.ts';
import type { Filter } from './l4policy.ts';
import type { PeerPolicy } from './peerpolicy.ts';
import { maskedPorts, portKey } from './ports.ts';
import { precedence } from './precedence.ts';

/** Ports that a filter means: by number, or what its name stands for on the side that has these ports (S35). */
export function portsOf(
  { port, endPort, portName, protocol }: Filter,
  named: readonly NamedPort[],
): readonly PortRange[] {
  if (portName === '') return [{ port, endPort }];
  return portsByName(named, portName, protocol).map((number) => ({ port: number, endPort: 0 }));
}

export interface PortRange {
  readonly port: number;
  readonly endPort: number;
}

/** Numbers of a port name among these ports. */
export function portsByName(ports: readonly NamedPort[], name: string, protocol: number): readonly number[] {
  const wanted = name.toLowerCase();
  const found = ports.filter(
    (port) => port.name.toLowerCase() === wanted && (port.protocol === 0 || port.protocol === protocol),
  );
  return [...new Set(found.map(({ port }) => port))].sort((a, b) => a - b);
}

/** The redirect of a policy that has a parser. */
export function redirectOf(direction: Direction, protocol: number, port: number, policy: PeerPolicy): Redirect {
  const { parser, listener } = policy;
  const id = `${direction}:${protocolName(protocol)}:${port}:${parser}${listener === '' ? '' : `:${listener}`}`;
  return { id, direction, protocol, port, parser, listener };
}

/** What a policy says, as an entry of a filter's level. */
export function entryOf(level: number, policy: PeerPolicy, redirect: Redirect | undefined, cookie: number): Entry {
  const { verdict, auth, listenerPriority } = policy;
  return {
    verdict,
    precedence: precedence(level, verdict, redirect !== undefined, listenerPriority),
    redirect,
    authType: auth === undefined ? 0 : AUTH_TYPE[auth],
    authExplicit: auth !== undefined,
    cookie,
  };
}

/** An entry on all keys that make up a range. */
export function itemsOf(
  { protocol, tier, scope }: Filter,
  { port, endPort }: PortRange,
  entry: Entry,
): readonly Item[] {
  return maskedPorts(port, endPort).map((masked) => ({
    key: portKey(protocol, masked.port, masked.prefix),
    tier,
    scope,
    entry,
  }));
}
