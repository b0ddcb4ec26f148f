/** Ports and protocols, as numbers, ranges and names. */
import { PROTOCOL } from '../../model/port.ts';
import type { PortMatch } from '../rule.ts';
import type { Decoder } from './decode.ts';
import type { Reading, Refused } from './reading.ts';

/** Protocols that a rule may name, with their IANA numbers. */
const PORT_PROTOCOLS = { TCP: PROTOCOL.TCP, UDP: PROTOCOL.UDP, SCTP: PROTOCOL.SCTP, ANY: PROTOCOL.ANY } as const;
/** Protocols without ports, behind their flag. */
const EXTENDED_PROTOCOLS = {
  VRRP: PROTOCOL.VRRP,
  IGMP: PROTOCOL.IGMP,
  GRE: 47,
  IPIP: 4,
  IPV6: 41,
  ESP: 50,
  AH: 51,
} as const;

export interface Protocol {
  /** IANA number; 0 is any. */
  readonly number: number;
  readonly hasPorts: boolean;
}

/** Case does not matter; an empty text is any protocol. Reports an unknown name. */
export function parseProtocol(text: string, reading: Reading): Protocol | Refused {
  const name = text === '' ? 'ANY' : text.toUpperCase();
  if (Object.hasOwn(PORT_PROTOCOLS, name)) {
    return { number: PORT_PROTOCOLS[name as keyof typeof PORT_PROTOCOLS], hasPorts: true };
  }
  const known: string[] = Object.keys(PORT_PROTOCOLS);
  if (Object.hasOwn(EXTENDED_PROTOCOLS, name)) {
    if (!reading.options.extendedIPProtocols) {
      const remedy = 'turn on enable-extended-ip-protocols';
      reading.schemaIssue(`protocol ${name} is not enabled`, { value: text, remedy });
    }
    return { number: EXTENDED_PROTOCOLS[name as keyof typeof EXTENDED_PROTOCOLS], hasPorts: false };
  }
  if (name.startsWith('ICMP')) {
    return reading.issue(`${text} has types instead of ports`, {
      value: text,
      remedy: 'use icmps beside toPorts, in a rule of its own',
    });
  }
  if (reading.options.extendedIPProtocols) known.push(...Object.keys(EXTENDED_PROTOCOLS));
  return reading.unknownName('protocol', text, known);
}

/** A port as its field has it: text, because it may be a name. */
export const portText: Decoder<string> = (value, reading) => {
  if (typeof value === 'string') return value;
  if (typeof value !== 'number') return value === null && !reading.strict ? '' : reading.wrongType(value, 'a string');
  return reading.issue('must be a string, because it may be a name', { value, remedy: `quote it: "${value}"` });
};

/** Parses a port of a Cilium rule. Port 0 is every port, whatever the end of its range. */
export function parsePort(text: string, endPort: number, reading: Reading): PortMatch | Refused {
  if (isPortName(text)) return { kind: 'named', name: text.toLowerCase() };
  const port = parseNumber(text);
  if (port === undefined || port > 65535) {
    const remedy = 'give a number from 0 to 65535, or a name of at most 15 letters, digits and single hyphens';
    return reading.issue('is neither a port number nor a port name', { value: text, remedy });
  }
  return port === 0 ? { kind: 'any' } : { kind: 'number', port, endPort: Math.max(port, endPort) };
}

/** A service name of RFC 6335 §5.1: letters, digits and single inner hyphens, with a letter, 15 characters at most. */
export function isPortName(text: string): boolean {
  return text.length <= 15 && /[a-zA-Z]/.test(text) && /^[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*$/.test(text);
}

/** Go's base-0 numbers without letters: a leading zero is octal, single underscores may stand between digits. */
function parseNumber(text: string): number | undefined {
  if (/^0(?:_?[0-7])*$/.test(text)) return parseInt(text.replaceAll('_', ''), 8);
  return /^[1-9](?:_?\d)*$/.test(text) ? Number(text.replaceAll('_', '')) : undefined;
}

/** The end of a range as the schema has it: at most 65535; beyond the schema only its low 16 bits count. */
export function checkedEndPort(endPort: number, reading: Reading): number {
  if (endPort >= 0 && endPort <= 65535) return endPort;
  reading.schemaIssue('is not a port number', {
    under: ['endPort'],
    value: endPort,
    remedy: 'give a number from 1 to 65535',
  });
  return endPort < 0 ? 0 : endPort & 0xffff;
}
