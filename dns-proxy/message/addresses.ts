/**
 * What an answer teaches: the addresses of the name that was asked for, and of nothing else (S30). Records that the
 * question did not ask for, or of names that no CNAME of the answer leads to from the question, teach nothing.
 */
import { CLASS_IN, RCODE, TYPE } from './constants.ts';
import type { DnsFault } from './fault.ts';
import { asksFor, type DnsResponse } from './message.ts';
import { WireReader } from './reader.ts';

/** An address of 4 or 16 bytes in network order. */
export interface AnswerAddress {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

export interface Lesson {
  /** The name that was asked for. */
  readonly name: string;
  readonly addresses: readonly AnswerAddress[];
  /** Seconds: the lowest of the addresses and of the CNAMEs that lead to them. */
  readonly ttl: number;
  /** The names that the question's name is another name of, in the order in which they were found. */
  readonly aliases: readonly string[];
}

/** Longest chain of CNAMEs that is followed; resolvers give up earlier. */
const MAX_ALIASES = 32;

interface AddressRecord extends AnswerAddress {
  readonly owner: string;
  readonly ttl: number;
}

interface AliasRecord {
  readonly owner: string;
  readonly target: string;
  readonly ttl: number;
}

/**
 * Reads the answer section of `response`, which {@link readResponse} read from the same bytes. Undefined when it teaches
 * nothing; a fault when it is cut short or malformed, and then nothing of it may be believed.
 */
export function readLesson(
  response: DnsResponse,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): Lesson | DnsFault | undefined {
  const { question, rcode } = response;
  if (rcode !== RCODE.NOERROR || !(asksFor(question, TYPE.A) || asksFor(question, TYPE.AAAA))) return undefined;
  const reader = new WireReader(bytes, start, end);
  reader.skip(response.questionEnd);
  const [addresses, aliases] = readAnswers(reader, response);
  return reader.fault ?? lessonOf(question.name, addresses, aliases);
}

function readAnswers(reader: WireReader, { question, answers }: DnsResponse): [AddressRecord[], AliasRecord[]] {
  const addresses: AddressRecord[] = [];
  const aliases: AliasRecord[] = [];
  for (let left = answers; left > 0 && reader.fault === undefined; left--) {
    // Nearly every record points to the question for its name.
    const owner = reader.skipPointerTo(12) ? question.name : reader.name();
    const [type, klass] = [reader.u16(), reader.u16()];
    const ttl = cappedTtl(reader.u32());
    const size = reader.u16();
    const next = reader.offset + size;
    const size4 = type === TYPE.A ? 4 : 16;
    if (klass !== CLASS_IN) reader.skip(size);
    else if (type === TYPE.CNAME) {
      aliases.push({ owner, target: reader.name(), ttl });
      if (reader.offset !== next) reader.fail('name');
    } else if ((type === TYPE.A || type === TYPE.AAAA) && asksFor(question, type)) {
      if (size !== size4) reader.fail('short');
      addresses.push({ owner, ttl, family: type === TYPE.A ? 4 : 6, bytes: reader.copy(size) });
    } else reader.skip(size);
  }
  return [addresses, aliases];
}

/** A TTL with the highest bit set counts as zero (RFC 2181 §8). */
function cappedTtl(ttl: number): number {
  return ttl > 0x7fffffff ? 0 : ttl;
}

function lessonOf(
  name: string,
  records: readonly AddressRecord[],
  aliases: readonly AliasRecord[],
): Lesson | undefined {
  const chain = new Set([name]);
  let ttl = 0x7fffffff;
  // A set grows while it is walked: each name of the chain is looked at once, so a loop of CNAMEs ends.
  if (aliases.length > 0) {
    for (const owner of chain) {
      for (const alias of aliases) {
        if (alias.owner !== owner || chain.size > MAX_ALIASES) continue;
        chain.add(alias.target);
        ttl = Math.min(ttl, alias.ttl);
      }
    }
  }
  const addresses = records.filter(({ owner }) => chain.has(owner));
  if (addresses.length === 0) return undefined;
  for (const record of addresses) ttl = Math.min(ttl, record.ttl);
  return { name, addresses, ttl, aliases: [...chain].slice(1) };
}
