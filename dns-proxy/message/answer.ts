/** Answers of our own making: refusals, and errors about queries that cannot be read. */
import { FLAG, HEADER_BYTES, RCODE, TYPE, type Rcode } from './constants.ts';
import { encodeName } from './name.ts';
import type { DnsQuery } from './message.ts';

/** The payload that fits every path without fragments (the DNS flag day's 1232 bytes). */
const OUR_UDP_PAYLOAD = 1232;
const RECURSION_AVAILABLE = 0x0080;
const OPT_BYTES = 11;

/**
 * The answer with `rcode` and no records to `query`, which was read from `bytes` at `start`. The question is repeated byte
 * by byte, case included, for askers check it. An OPT record is answered with one (RFC 6891 §7).
 */
export function answerWith(rcode: Rcode, query: DnsQuery, bytes: Uint8Array, start = 0): Uint8Array {
  const optBytes = query.edns === undefined ? 0 : OPT_BYTES;
  const answer = new Uint8Array(query.questionEnd + optBytes);
  answer.set(bytes.subarray(start, start + query.questionEnd));
  putHeader(answer, query.flags, rcode, optBytes === 0 ? 0 : 1);
  answer[5] = 1;
  if (query.edns !== undefined) putOpt(answer, query.questionEnd, rcode, query.edns.dnssecOk);
  return answer;
}

/**
 * The answer to a query that is at fault, of its header alone: its question is not to be trusted.
 *
 * @param rcode what `faultRcode` says; where it says nothing there must be no answer
 */
export function answerFault(rcode: Rcode, bytes: Uint8Array, start = 0): Uint8Array {
  // The rcode that does not fit the header needs an OPT record to carry the rest.
  const extended = rcode > 0xf;
  const answer = new Uint8Array(HEADER_BYTES + (extended ? OPT_BYTES : 0));
  answer.set(bytes.subarray(start, start + 4));
  putHeader(answer, (bytes[start + 2]! << 8) | bytes[start + 3]!, rcode, extended ? 1 : 0);
  if (extended) putOpt(answer, HEADER_BYTES, rcode, false);
  return answer;
}

/** Keeps the id that is there, the opcode and RD; clears every count but that of additional records. */
function putHeader(answer: Uint8Array, flags: number, rcode: Rcode, additional: number): void {
  const kept = flags & (0x7800 | FLAG.recursionDesired);
  const word = FLAG.response | kept | RECURSION_AVAILABLE | (rcode & 0xf);
  answer[2] = word >> 8;
  answer[3] = word & 0xff;
  answer.fill(0, 4, HEADER_BYTES);
  answer[11] = additional;
}

function putOpt(answer: Uint8Array, at: number, rcode: Rcode, dnssecOk: boolean): void {
  answer[at] = 0;
  answer[at + 2] = TYPE.OPT;
  answer[at + 3] = OUR_UDP_PAYLOAD >> 8;
  answer[at + 4] = OUR_UDP_PAYLOAD & 0xff;
  answer[at + 5] = rcode >> 4;
  answer[at + 7] = dnssecOk ? 0x80 : 0;
}

/** A recursive query of our own, for names that are polled; undefined when `name` is none. */
export function encodeQuery(id: number, name: string, type: number): Uint8Array | undefined {
  const wire = encodeName(name);
  if (wire === undefined) return undefined;
  const query = new Uint8Array(HEADER_BYTES + wire.length + 4);
  query.set([id >> 8, id & 0xff, FLAG.recursionDesired >> 8, RCODE.NOERROR, 0, 1]);
  query.set(wire, HEADER_BYTES);
  query.set([type >> 8, type & 0xff, 0, 1], HEADER_BYTES + wire.length);
  return query;
}
