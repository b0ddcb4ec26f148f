/** A TCP, UDP or SCTP port, or an ICMP type where a policy key carries one (S10). Host byte order. */
export type Port = number & { readonly __brand: 'Port' };

export const port = (n: number): Port => n as Port;

/** IANA protocol numbers by the names policies use. `ANY` is the wildcard of policy keys. */
export const PROTOCOL = { ANY: 0, ICMP: 1, IGMP: 2, TCP: 6, UDP: 17, ICMPv6: 58, VRRP: 112, SCTP: 132 } as const;

/** A protocol's name. */
export type ProtocolName = keyof typeof PROTOCOL;

/** Name of an IANA protocol number, or the number itself as text. */
export function protocolName(number: number): string {
  for (const [name, value] of Object.entries(PROTOCOL)) if (value === number) return name;
  return String(number);
}
