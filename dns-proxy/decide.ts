/**
 * What becomes of a query, and of what a server sends back. Pure: bytes and tables in, a decision out; `npm run fuzz -- dns`
 * tries it with everything.
 */
import { answerFault, answerWith } from './message/answer.ts';
import { readLesson, type Lesson } from './message/addresses.ts';
import { FLAG, HEADER_BYTES, RCODE, type Rcode } from './message/constants.ts';
import { faultRcode } from './message/fault.ts';
import { answersQuery, readQuery, readResponse, type DnsQuery, type DnsResponse } from './message/message.ts';
import type { QueryVerdict } from './rules/query-policy.ts';

/** Rules for one client and one server, as far as a decision needs them. */
export type AskPolicy = (name: string) => QueryVerdict;

export type QueryDecision =
  /** Passed on as it came, but for its id. */
  | { readonly kind: 'forward'; readonly query: DnsQuery }
  /** Answered here. `query` is absent when it cannot be read. */
  | {
      readonly kind: 'answer';
      readonly answer: Uint8Array;
      readonly reason: string;
      readonly rcode: number;
      readonly query?: DnsQuery;
    }
  /** There is nobody to answer to. */
  | { readonly kind: 'ignore'; readonly reason: string };

/** @param reject rcode of an answer to what policy refuses */
export function decideQuery(
  bytes: Uint8Array,
  start: number,
  end: number,
  policy: AskPolicy,
  reject: Rcode,
): QueryDecision {
  const query = readQuery(bytes, start, end);
  if (query.kind === 'fault') {
    const rcode = faultRcode(query.reason);
    if (rcode === undefined) return { kind: 'ignore', reason: query.reason };
    return { kind: 'answer', answer: answerFault(rcode, bytes, start), reason: query.reason, rcode };
  }
  const verdict = policy(query.question.name);
  if (verdict === 'allowed') return { kind: 'forward', query };
  const reason = verdict === 'name' ? 'no rule allows the name' : 'no rule allows the server';
  return { kind: 'answer', answer: answerWith(reject, query, bytes, start), reason, rcode: reject, query };
}

/** The answer to a query that cannot be forwarded now. */
export function failure(query: DnsQuery, bytes: Uint8Array, start: number): Uint8Array {
  return answerWith(RCODE.SERVFAIL, query, bytes, start);
}

export type AnswerDecision =
  /** It is no answer to the query: the server's true answer may still come. */
  | undefined
  /** `lesson`: what it teaches, if anything. */
  | { readonly response: DnsResponse | undefined; readonly rcode: number; readonly lesson: Lesson | undefined };

/**
 * Whether bytes from the server that was asked answer the query with the id `id`, and what they teach. Names are believed of
 * the question alone and of the CNAMEs that lead from it; damaged answers teach nothing.
 */
export function decideAnswer(
  bytes: Uint8Array,
  start: number,
  end: number,
  id: number,
  query: Pick<DnsQuery, 'question'>,
): AnswerDecision {
  const response = readResponse(bytes, start, end);
  if (response.kind === 'fault') {
    return isBareError(bytes, start, end, id)
      ? { response: undefined, rcode: bytes[start + 3]! & 0xf, lesson: undefined }
      : undefined;
  }
  if (!answersQuery(response, { id, question: query.question })) return undefined;
  const lesson = readLesson(response, bytes, start, end);
  return {
    response,
    rcode: response.rcode,
    lesson: lesson === undefined || 'kind' in lesson ? undefined : lesson,
  };
}

/** A header that says only that something is wrong: how servers answer what they cannot read. */
function isBareError(bytes: Uint8Array, start: number, end: number, id: number): boolean {
  if (end - start !== HEADER_BYTES) return false;
  const flags = (bytes[start + 2]! << 8) | bytes[start + 3]!;
  const empty = bytes.subarray(start + 4, end).every((byte) => byte === 0);
  return (
    ((bytes[start]! << 8) | bytes[start + 1]!) === id && (flags & FLAG.response) !== 0 && (flags & 0xf) !== 0 && empty
  );
}
