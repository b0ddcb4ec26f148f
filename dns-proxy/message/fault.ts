import { RCODE, type Rcode } from './constants.ts';

/** Why bytes are not the message they should be. */
export type FaultReason =
  /** Fewer bytes than a header has: there is nothing to answer to. */
  | 'no-header'
  /** A response where a query belongs, or the other way round. Never answered: two proxies would answer for ever. */
  | 'wrong-direction'
  /** An operation other than a query: update, notify, status. */
  | 'opcode'
  /** No question, or several (RFC 9619). */
  | 'question-count'
  /** A name, a record or a section ends after the message does. */
  | 'short'
  /** A label of an unknown kind, a name too long, or a pointer that does not point backwards. */
  | 'name'
  /** More than one OPT record, one in the wrong section, or one that has a name (RFC 6891 §6.1.1). */
  | 'edns'
  /** A version of EDNS that is not 0 (RFC 6891 §6.1.3). */
  | 'edns-version'
  /** Bytes after the last record of a query. */
  | 'trailing';

/** The outcome of reading bytes that are no message. Readers return it; none of them throws. */
export interface DnsFault {
  readonly kind: 'fault';
  readonly reason: FaultReason;
  /** Where in the message, in bytes from its beginning. */
  readonly offset: number;
}

export function fault(reason: FaultReason, offset: number): DnsFault {
  return { kind: 'fault', reason, offset };
}

/** What a server says to a query with this fault; undefined when it must stay silent. */
export function faultRcode(reason: FaultReason): Rcode | undefined {
  switch (reason) {
    case 'no-header':
    case 'wrong-direction':
      return undefined;
    case 'opcode':
      return RCODE.NOTIMP;
    case 'edns-version':
      return RCODE.BADVERS;
    default:
      return RCODE.FORMERR;
  }
}
