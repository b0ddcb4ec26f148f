/** `protocols[]` of a ClusterNetworkPolicy: one protocol with a port or range, or a named port. */
import { PROTOCOL } from '../../model/port.ts';
import type { PortMatch, PortSelector } from '../rule.ts';
import { integer, object, string, then, type Decoder } from './decode.ts';
import type { Reading } from './reading.ts';

const destination = object({
  destinationPort: object({ number: integer, range: object({ start: integer, end: integer }) }),
});

const raw = object({ tcp: destination, udp: destination, sctp: destination, destinationNamedPort: string });

type Destination = NonNullable<ReturnType<typeof destination>>;

const PROTOCOLS = [
  ['tcp', PROTOCOL.TCP],
  ['udp', PROTOCOL.UDP],
  ['sctp', PROTOCOL.SCTP],
] as const;

export const clusterProtocol: Decoder<PortSelector> = then(raw, (item, reading) => {
  const { destinationNamedPort: name = '' } = item;
  const given = PROTOCOLS.filter(([field]) => item[field] !== undefined);
  if (given.length + (name === '' ? 0 : 1) !== 1) {
    reading.schemaIssue('exactly one of tcp, udp, sctp and destinationNamedPort is needed', {
      remedy: 'write one item for each',
    });
  }
  for (const [field, protocol] of given) {
    return { protocol, port: reading.at(field, () => portOf(item[field] ?? {}, reading)) };
  }
  return { protocol: PROTOCOL.ANY, port: name === '' ? { kind: 'any' } : { kind: 'named', name: name.toLowerCase() } };
});

function portOf({ destinationPort = {} }: Destination, reading: Reading): PortMatch {
  const { number, range } = destinationPort;
  const start = range === undefined ? (number ?? 0) : (range.start ?? 0);
  const end = range?.end ?? start;
  if (start < 0 || start > 65535 || end > 65535 || end < start) {
    reading.issue('is not a port or range', {
      under: ['destinationPort'],
      value: destinationPort,
      remedy: 'give ports from 1 to 65535, the lower first',
    });
  }
  return start === 0 ? { kind: 'any' } : { kind: 'number', port: start, endPort: Math.max(start, end) };
}
