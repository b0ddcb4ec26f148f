import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeCase, type Case, type Record } from '../../test/fuzz/dns-cases.ts';
import { readLesson, type Lesson } from './addresses.ts';
import { answerFault, answerWith, encodeQuery } from './answer.ts';
import { RCODE, TYPE } from './constants.ts';
import { faultRcode } from './fault.ts';
import { answersQuery, readQuery, readResponse, type DnsQuery } from './message.ts';

const OPT: Record = { owner: '.', type: 41, class: 4096, ttl: 0x8000, data: new Uint8Array(6) };

function query(name: string, additional: readonly Record[] = [], change: Partial<Case> = {}): Uint8Array {
  const questions = [{ name, type: 1, class: 1 }];
  return encodeCase({ id: 77, flags: 0x0100, questions, sections: [[], [], additional], ...change }, true);
}

function read(bytes: Uint8Array): DnsQuery {
  const found = readQuery(bytes);
  assert.equal(found.kind, 'query');
  return found;
}

function reason(bytes: Uint8Array): string {
  const found = readQuery(bytes);
  return found.kind === 'fault' ? found.reason : 'none';
}

describe('a query', () => {
  test('gives its question in lower case, and its EDNS', () => {
    const found = read(query('WWW.Example.com.', [OPT]));
    assert.deepEqual(found.question, { name: 'www.example.com.', type: 1, class: 1 });
    assert.deepEqual(found.edns, { udpPayload: 4096, dnssecOk: true });
    assert.equal(found.questionEnd, 33);
  });

  test('of our own making is read back', () => {
    const made = encodeQuery(4711, 'a.example.com', TYPE.AAAA);
    assert.ok(made);
    const { id, question, edns } = read(made);
    assert.deepEqual(
      { id, question, edns },
      { id: 4711, question: { name: 'a.example.com.', type: 28, class: 1 }, edns: undefined },
    );
    assert.equal(encodeQuery(1, 'a..b', TYPE.A), undefined);
  });

  test('is a fault when a server could read it differently, and the fault says what to answer', () => {
    const twice = [0, 1].map(() => ({ name: 'a.', type: 1, class: 1 }));
    const version1 = { ...OPT, ttl: 0x10000 };
    for (const [bytes, expected, rcode] of [
      [new Uint8Array(11), 'no-header', undefined],
      [query('a.', [], { flags: 0x8180 }), 'wrong-direction', undefined],
      [query('a.', [], { flags: 0x2800 }), 'opcode', RCODE.NOTIMP],
      [query('a.', [], { questions: twice }), 'question-count', RCODE.FORMERR],
      [query('a.', [], { questions: [] }), 'question-count', RCODE.FORMERR],
      [query('a.', [OPT, OPT]), 'edns', RCODE.FORMERR],
      [query('a.', [], { sections: [[OPT], [], []] }), 'edns', RCODE.FORMERR],
      [query('a.', [{ ...OPT, owner: 'b.' }]), 'edns', RCODE.FORMERR],
      [query('a.', [version1]), 'edns-version', RCODE.BADVERS],
      [Uint8Array.of(...query('a.'), 0), 'trailing', RCODE.FORMERR],
      [query('a.', [OPT]).subarray(0, -1), 'short', RCODE.FORMERR],
    ] as const) {
      assert.equal(reason(bytes), expected);
      assert.equal(faultRcode(expected), rcode, expected);
    }
  });

  test('never makes the reader throw or hang, whatever its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), (bytes, start) => {
        for (const readIt of [readQuery, readResponse]) assert.ok(readIt(bytes, start).kind.length > 0);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('an answer of our own', () => {
  test('repeats the question as it was written, and answers EDNS with EDNS', () => {
    const bytes = query('wWw.Example.com.', [OPT]);
    const answer = answerWith(RCODE.REFUSED, read(bytes), bytes);
    assert.deepEqual(answer.subarray(12, 33), bytes.subarray(12, 33));
    const hex = Buffer.from(answer).toString('hex');
    assert.equal(hex.slice(0, 24), '004d81850001000000000001', 'id, response with RD and RA, REFUSED, counts');
    assert.equal(hex.slice(66), '00002904d0000080000000', 'OPT: 1232 bytes, DO');
    const response = readResponse(answer);
    assert.ok(response.kind === 'response' && answersQuery(response, read(bytes)));
  });

  test('has no EDNS where the query has none', () => {
    const bytes = query('a.');
    assert.equal(answerWith(RCODE.NXDOMAIN, read(bytes), bytes).length, bytes.length);
  });

  test('to a fault is a header alone, with the rest of a long rcode behind it', () => {
    const bytes = query('a.');
    assert.equal(Buffer.from(answerFault(RCODE.FORMERR, bytes)).toString('hex'), '004d81810000000000000000');
    const badVersion = Buffer.from(answerFault(RCODE.BADVERS, bytes)).toString('hex');
    assert.equal(badVersion, '004d81800000000000000001' + '00002904d0010000000000');
  });
});

describe('an answer of a server', () => {
  const A = (owner: string, last: number, ttl = 60): Record => ({
    owner,
    type: 1,
    class: 1,
    ttl,
    data: Uint8Array.of(192, 0, 2, last),
  });
  const CNAME = (owner: string, data: string, ttl = 60): Record => ({ owner, type: 5, class: 1, ttl, data });

  function lesson(answers: readonly Record[], change: Partial<Case> = {}): [string, number, string[]] | string {
    const bytes = query('Asked.com.', [], { flags: 0x8180, sections: [answers, [], []], ...change });
    const response = readResponse(bytes);
    assert.equal(response.kind, 'response');
    const found = readLesson(response, bytes);
    if (found === undefined) return 'nothing';
    if ('kind' in found) return found.reason;
    return [found.name, found.ttl, lastBytes(found)];
  }
  const lastBytes = ({ addresses }: Lesson): string[] => addresses.map(({ bytes }) => bytes.join('.'));

  test('teaches the addresses of the chain that begins at the question, with its lowest TTL (S30)', () => {
    const chain = [
      CNAME('asked.com.', 'b.net.', 30),
      CNAME('b.net.', 'c.org.', 20),
      A('c.org.', 1, 50),
      A('C.org.', 2, 40),
    ];
    assert.deepEqual(lesson(chain), ['asked.com.', 20, ['192.0.2.1', '192.0.2.2']]);
    assert.deepEqual(lesson(chain.toReversed()), ['asked.com.', 20, ['192.0.2.2', '192.0.2.1']]);
  });

  test('teaches nothing of names that the chain does not reach, nor of other sections', () => {
    assert.deepEqual(lesson([A('asked.com.', 1), A('bank.com.', 2, 1)]), ['asked.com.', 60, ['192.0.2.1']]);
    assert.equal(lesson([CNAME('bank.com.', 'asked.com.'), A('bank.com.', 2)]), 'nothing');
    assert.equal(lesson([], { sections: [[], [A('asked.com.', 1)], [A('asked.com.', 2)]] }), 'nothing');
  });

  test('teaches nothing that was not asked for', () => {
    const AAAA: Record = { owner: 'asked.com.', type: 28, class: 1, ttl: 9, data: new Uint8Array(16) };
    assert.equal(lesson([AAAA]), 'nothing');
    assert.equal(lesson([{ ...A('asked.com.', 1), class: 3 }]), 'nothing');
    assert.equal(lesson([A('asked.com.', 1)], { flags: 0x8183 }), 'nothing');
    assert.equal(lesson([A('asked.com.', 1)], { questions: [{ name: 'asked.com.', type: 16, class: 1 }] }), 'nothing');
  });

  test('that is damaged teaches nothing at all', () => {
    assert.equal(lesson([A('asked.com.', 1), { ...A('asked.com.', 2), data: new Uint8Array(5) }]), 'short');
  });

  test('with a loop of CNAMEs, or a TTL beyond 31 bits', () => {
    const loop = [CNAME('asked.com.', 'b.'), CNAME('b.', 'asked.com.'), A('b.', 1, 0x80000001)];
    assert.deepEqual(lesson(loop), ['asked.com.', 0, ['192.0.2.1']]);
  });

  test('answers a query only with its number and its question', () => {
    const asked = read(query('asked.com.'));
    const other = readResponse(query('asked.org.', [], { flags: 0x8180 }));
    const late = readResponse(query('asked.com.', [], { flags: 0x8180, id: 78 }));
    assert.ok(other.kind === 'response' && !answersQuery(other, asked));
    assert.ok(late.kind === 'response' && !answersQuery(late, asked));
  });
});
