/**
 * A DNS server that lies, by the first label of the name: `node lying-server.ts ADDRESS`. Each lie claims 203.0.113.66; the
 * true answer, 198.51.100.7, follows where the lie should have been seen through. `slow` is never answered.
 */
import dgram from 'node:dgram';
import { readQuery, type DnsQuery } from '../../dns-proxy/message/message.ts';
import { encodeCase, type Case, type Record } from '../fuzz/dns-cases.ts';

const TRUTH = Uint8Array.of(198, 51, 100, 7);
const LIE = Uint8Array.of(203, 0, 113, 66);

function answer({ id, question }: DnsQuery, records: readonly Record[], change: Partial<Case> = {}): Uint8Array {
  const questions = [question];
  return encodeCase({ id, flags: 0x8180, questions, sections: [records, [], []], ...change }, true);
}

function address(owner: string, data: Uint8Array): Record {
  return { owner, type: 1, class: 1, ttl: 60, data };
}

/** What is sent, in this order; `elsewhere` from another port. */
interface Replies {
  readonly messages: readonly Uint8Array[];
  readonly elsewhere?: readonly Uint8Array[];
}

const LIES: Readonly<globalThis.Record<string, (query: DnsQuery) => Replies>> = {
  id: (query) => ({
    messages: [
      answer({ ...query, id: query.id ^ 1 }, [address(query.question.name, LIE)]),
      answer(query, [address(query.question.name, TRUTH)]),
    ],
  }),
  question: (query) => {
    const other = { ...query.question, name: 'other.example.com.' };
    return {
      messages: [
        answer(query, [address(other.name, LIE)], { questions: [other] }),
        answer(query, [address(query.question.name, TRUTH)]),
      ],
    };
  },
  port: (query) => ({
    elsewhere: [answer(query, [address(query.question.name, LIE)])],
    messages: [answer(query, [address(query.question.name, TRUTH)])],
  }),
  // Of names that nobody asked for, in an answer that is otherwise true.
  bailiwick: (query) => ({
    messages: [answer(query, [address(query.question.name, TRUTH), address('www.example.com.', LIE)])],
  }),
  // A record that claims to be longer than the message: nothing of it may be believed.
  damaged: (query) => ({
    messages: [answer(query, [address(query.question.name, LIE)]).slice(0, -1)],
  }),
  unsolicited: (query) => ({
    messages: [
      answer(query, [address(query.question.name, TRUTH)]),
      answer(query, [address(query.question.name, LIE)]),
    ],
  }),
  slow: () => ({ messages: [] }),
};

const [, , listen] = process.argv;
const [server, other] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
server.on('message', (bytes, { port, address: from }) => {
  const query = readQuery(bytes);
  if (query.kind === 'fault') return;
  const { messages, elsewhere = [] } = LIES[query.question.name.split('.')[0]!]?.(query) ?? { messages: [] };
  for (const message of elsewhere) other.send(message, port, from);
  for (const message of messages) server.send(message, port, from);
});
other.bind(0, listen);
server.bind(53, listen, () => console.log('ready'));
