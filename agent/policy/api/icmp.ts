/** ICMP by type or by the type's name (S10: the type sits where ports have their number). */
import { PROTOCOL } from '../../model/port.ts';
import type { PortSelector } from '../rule.ts';
import { list, object, string, then, type Decoder } from './decode.ts';
import type { Reading, Refused } from './reading.ts';

const MAX_FIELDS = 40;

/** Names of RFC 792 and its successors, as the IANA registry of ICMP parameters has them. */
const IPV4_TYPES: Readonly<Record<string, number>> = {
  EchoReply: 0,
  DestinationUnreachable: 3,
  Redirect: 5,
  Echo: 8,
  EchoRequest: 8,
  RouterAdvertisement: 9,
  RouterSelection: 10,
  TimeExceeded: 11,
  ParameterProblem: 12,
  Timestamp: 13,
  TimestampReply: 14,
  Photuris: 40,
  ExtendedEchoRequest: 42,
  ExtendedEchoReply: 43,
};

/** Names of RFC 4443 and its successors. */
const IPV6_TYPES: Readonly<Record<string, number>> = {
  DestinationUnreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  EchoRequest: 128,
  EchoReply: 129,
  MulticastListenerQuery: 130,
  MulticastListenerReport: 131,
  MulticastListenerDone: 132,
  RouterSolicitation: 133,
  RouterAdvertisement: 134,
  NeighborSolicitation: 135,
  NeighborAdvertisement: 136,
  RedirectMessage: 137,
  RouterRenumbering: 138,
  ICMPNodeInformationQuery: 139,
  ICMPNodeInformationResponse: 140,
  InverseNeighborDiscoverySolicitation: 141,
  InverseNeighborDiscoveryAdvertisement: 142,
  HomeAgentAddressDiscoveryRequest: 144,
  HomeAgentAddressDiscoveryReply: 145,
  MobilePrefixSolicitation: 146,
  MobilePrefixAdvertisement: 147,
  DuplicateAddressRequestCodeSuffix: 157,
  DuplicateAddressConfirmationCodeSuffix: 158,
  ExtendedEchoRequest: 160,
  ExtendedEchoReply: 161,
};

const FAMILIES = ['IPv4', 'IPv6'] as const;

const typeText: Decoder<string | number> = (value, reading) =>
  typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value))
    ? value
    : reading.wrongType(value, 'a number or a name');

const icmpField: Decoder<PortSelector> = then(object({ family: string, type: typeText }), (field, reading) => {
  const family = field.family === undefined || field.family === '' ? 'IPv4' : field.family;
  if (family !== 'IPv4' && family !== 'IPv6') {
    return reading.at('family', () => reading.unknownName('family', family, FAMILIES));
  }
  if (field.type === undefined) {
    // Present, but of a wrong type: said already.
    if ('type' in field) return null;
    return reading.issue('the type is missing', { under: ['type'], remedy: 'give a type such as 8 or EchoRequest' });
  }
  const text = field.type;
  const type = reading.at('type', () => parseType(text, family, reading));
  if (type === null) return null;
  const protocol = family === 'IPv6' ? PROTOCOL.ICMPv6 : PROTOCOL.ICMP;
  return { protocol, port: { kind: 'number', port: type, endPort: type } };
});

/** `icmps[]`. */
export const icmpRule: Decoder<readonly PortSelector[]> = then(
  object({
    fields: then(list(icmpField), (fields, reading) => {
      if (fields.length <= MAX_FIELDS) return fields;
      return reading.issue(`more than ${MAX_FIELDS} types`, { remedy: 'spread the types over several items of icmps' });
    }),
  }),
  ({ fields = [] }) => fields,
);

function parseType(type: string | number, family: 'IPv4' | 'IPv6', reading: Reading): number | Refused {
  const number = typeof type === 'number' ? type : /^[+-]?\d+$/.test(type) ? Number(type) : undefined;
  if (number === undefined) {
    const names = family === 'IPv4' ? IPV4_TYPES : IPV6_TYPES;
    const named = Object.hasOwn(names, type) ? names[type] : undefined;
    return named ?? reading.unknownName(`${family} type`, String(type), Object.keys(names));
  }
  if (number >= 0 && number <= 255) return number;
  return reading.schemaIssue('is not an ICMP type', { value: type, remedy: 'give a number from 0 to 255' });
}
