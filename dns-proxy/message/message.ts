/** Queries and responses, as far as a proxy must understand them; the rest is passed on as it came. */
import { CLASS_IN, FLAG, HEADER_BYTES, TYPE } from './constants.ts';
import { fault, type DnsFault } from './fault.ts';
import { WireReader } from './reader.ts';

export interface Question {
  /** Canonical: lower case, final dot, escapes (S30). */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

/** The OPT record of a query (RFC 6891). */
export interface Edns {
  /** Bytes of UDP payload that the sender takes. */
  readonly udpPayload: number;
  /** The DO bit: the sender wants signatures. */
  readonly dnssecOk: boolean;
}

interface Message {
  readonly id: number;
  /** The header's second 16-bit word, as it came: opcode, flags, rcode. */
  readonly flags: number;
  readonly question: Question;
  /** Offset of the first byte after the question. */
  readonly questionEnd: number;
}

export interface DnsQuery extends Message {
  readonly kind: 'query';
  /** Undefined when the query has no OPT record. */
  readonly edns: Edns | undefined;
}

export interface DnsResponse extends Message {
  readonly kind: 'response';
  /** The header's four bits of it. */
  readonly rcode: number;
  /** TC: the asker must come back over TCP. */
  readonly truncated: boolean;
  /** Records in the answer section, as the header says. */
  readonly answers: number;
}

/**
 * Reads the query in `bytes` from `start` up to `end`, to its last byte. What a server could read differently is a fault:
 * several questions, trailing bytes, records out of place.
 */
export function readQuery(bytes: Uint8Array, start = 0, end = bytes.length): DnsQuery | DnsFault {
  const reader = new WireReader(bytes, start, end);
  const head = readHead(reader, 'query', end - start);
  if ('kind' in head) return head;
  const { id, flags, question, questionEnd, counts } = head;
  const edns = readEdns(reader, counts[0] + counts[1], counts[2]);
  if (reader.fault === undefined && !reader.atEnd) reader.fail('trailing');
  return reader.fault ?? { kind: 'query', id, flags, question, questionEnd, edns };
}

/** Reads a response's header and question. The records behind them are for {@link WireReader}s of those who want them. */
export function readResponse(bytes: Uint8Array, start = 0, end = bytes.length): DnsResponse | DnsFault {
  const head = readHead(new WireReader(bytes, start, end), 'response', end - start);
  if ('kind' in head) return head;
  const { id, flags, question, questionEnd, counts } = head;
  const truncated = (flags & FLAG.truncated) !== 0;
  return { kind: 'response', id, flags, question, questionEnd, rcode: flags & 0xf, truncated, answers: counts[0] };
}

/** Whether `response` answers `query`: the same number and the same question, whatever its case. */
export function answersQuery(response: DnsResponse, query: Pick<DnsQuery, 'id' | 'question'>): boolean {
  const [asked, answered] = [query.question, response.question];
  return (
    response.id === query.id &&
    answered.name === asked.name &&
    answered.type === asked.type &&
    answered.class === asked.class
  );
}

/** The header, its counts of records by section, and the only question. */
interface Head extends Message {
  readonly counts: readonly [answer: number, authority: number, additional: number];
}

function readHead(reader: WireReader, kind: 'query' | 'response', size: number): Head | DnsFault {
  if (size < HEADER_BYTES) return fault('no-header', Math.max(0, size));
  const [id, flags] = [reader.u16(), reader.u16()];
  if (((flags & FLAG.response) !== 0) !== (kind === 'response')) return fault('wrong-direction', 2);
  if ((flags & 0x7800) !== 0) return fault('opcode', 2);
  const questions = reader.u16();
  if (questions !== 1) return fault('question-count', 4);
  const counts = [reader.u16(), reader.u16(), reader.u16()] as const;
  const question = { name: reader.name(), type: reader.u16(), class: reader.u16() };
  return reader.fault ?? { id, flags, question, questionEnd: reader.offset, counts };
}

/** Walks over all records of a query; the OPT record may only be among the last `additional`. */
function readEdns(reader: WireReader, before: number, additional: number): Edns | undefined {
  let edns: Edns | undefined;
  for (let left = before + additional; left > 0 && reader.fault === undefined; left--) {
    const begin = reader.offset;
    reader.skipName();
    const nameBytes = reader.offset - begin;
    const [type, klass, ttl] = [reader.u16(), reader.u16(), reader.u32()];
    reader.skip(reader.u16());
    if (type !== TYPE.OPT) continue;
    if (left > additional || edns !== undefined || nameBytes !== 1) reader.fail('edns', begin);
    if (((ttl >>> 16) & 0xff) !== 0) reader.fail('edns-version', begin);
    edns = { udpPayload: klass, dnssecOk: (ttl & 0x8000) !== 0 };
  }
  return edns;
}

/** Whether a question asks for addresses of the kind of `type` (A or AAAA) of the internet. */
export function asksFor(question: Question, type: number): boolean {
  return question.class === CLASS_IN && (question.type === type || question.type === TYPE.ANY);
}
