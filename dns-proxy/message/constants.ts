/** Numbers of the domain name system (RFC 1035 §4, RFC 6891, RFC 8914). */

export const HEADER_BYTES = 12;
/** Longest name on the wire, lengths and the root included (RFC 1035 §2.3.4). */
export const MAX_NAME_BYTES = 255;
/** Longest message: what the length of TCP's framing can say. */
export const MAX_MESSAGE_BYTES = 65535;

/** Bits of the header's second 16-bit word. */
export const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100 } as const;

export const TYPE = { A: 1, CNAME: 5, AAAA: 28, OPT: 41, ANY: 255 } as const;
export const CLASS_IN = 1;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  /** Beyond the header's four bits: the rest stands in the OPT record. */
  BADVERS: 16,
} as const;

export type Rcode = (typeof RCODE)[keyof typeof RCODE];
