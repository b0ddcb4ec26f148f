/** The DNS codec against messages, damaged messages and noise: nothing crashes, nothing is believed that is not so. */
import assert from 'node:assert/strict';
import { readLesson } from '../../dns-proxy/message/addresses.ts';
import { answerFault, answerWith } from '../../dns-proxy/message/answer.ts';
import { RCODE } from '../../dns-proxy/message/constants.ts';
import { faultRcode } from '../../dns-proxy/message/fault.ts';
import { answersQuery, readQuery, readResponse } from '../../dns-proxy/message/message.ts';
import { encodeName } from '../../dns-proxy/message/name.ts';
import { damage, encodeCase, queryCase, responseCase } from './dns-cases.ts';
import { checkDecisions } from './dns-decisions.ts';
import { referenceReading } from './dns-reference.ts';
import { Random } from './random.ts';

export interface DnsFailure {
  readonly seed: number;
  readonly error: Error;
  /** The message, in hexadecimal: add it to `test/fuzz/corpus/dns.txt` with the mend. */
  readonly message: string;
}

/** Runs the case of a seed; undefined when every property holds. */
export function fuzzDns(seed: number): DnsFailure | undefined {
  const message = messageOf(seed);
  try {
    checkMessage(message, seed);
    return undefined;
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    return { seed, error, message: Buffer.from(message).toString('hex') };
  }
}

function messageOf(seed: number): Uint8Array {
  const random = new Random(seed);
  if (random.chance(0.05)) return Uint8Array.from({ length: random.below(600) }, () => random.below(256));
  const found = encodeCase(random.chance(0.6) ? responseCase(random) : queryCase(random), random.chance(0.8));
  return random.chance(0.7) ? damage(random, found) : found;
}

/** Every property, of any bytes. @param seed of what is chosen besides */
export function checkMessage(message: Uint8Array, seed = 1): void {
  checkDecisions(message, new Random(seed ^ 0x5eed));
  checkQuery(message);
  checkResponse(message);
  // A message is read the same wherever it lies, and nothing around it is looked at.
  const framed = new Uint8Array(message.length + 20).fill(0xc0);
  framed.set(message, 7);
  assert.deepEqual(readQuery(framed, 7, 7 + message.length), readQuery(message), 'query elsewhere');
  assert.deepEqual(readResponse(framed, 7, 7 + message.length), readResponse(message), 'response elsewhere');
}

function checkQuery(message: Uint8Array): void {
  const query = readQuery(message);
  if (query.kind === 'fault') {
    const rcode = faultRcode(query.reason);
    assert.ok(query.offset <= message.length, 'fault inside the message');
    if (rcode === undefined) return;
    const answer = answerFault(rcode, message);
    assert.equal(answer[2]! & 0x80, 0x80, 'a fault is answered by a response');
    assert.deepEqual(answer.subarray(0, 2), message.subarray(0, 2), 'a fault is answered with its id');
    return;
  }
  const wire = encodeName(query.question.name);
  const asked = message.subarray(12, query.questionEnd - 4);
  // The question may end in a pointer only where there is something before it: nowhere.
  assert.deepEqual(Array.from(wire ?? []), Array.from(asked, lower), 'the name is what the wire says');
  for (const rcode of [RCODE.REFUSED, RCODE.NXDOMAIN, RCODE.SERVFAIL]) {
    const response = readResponse(answerWith(rcode, query, message));
    assert.ok(response.kind === 'response' && answersQuery(response, query), 'our answer answers');
    assert.equal(response.rcode, rcode);
  }
}

/** Lengths are below 64: only letters are touched. */
function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

function checkResponse(message: Uint8Array): void {
  const expected = referenceReading(message);
  const response = readResponse(message);
  if (response.kind === 'fault') {
    assert.equal(expected, 'no-response', 'refused a response');
    return;
  }
  const lesson = readLesson(response, message);
  if (lesson === undefined) assert.equal(expected, 'nothing', 'learned nothing');
  else if ('kind' in lesson) assert.equal(expected, 'malformed', 'refused the answers');
  else {
    const addresses = lesson.addresses.map(({ bytes }) => Buffer.from(bytes).toString('hex'));
    assert.deepEqual({ name: lesson.name, ttl: lesson.ttl, addresses }, expected, 'learned');
  }
}
