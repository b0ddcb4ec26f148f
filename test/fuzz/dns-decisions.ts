/**
 * What the DNS proxy decides about any bytes: no query goes on that policy does not allow, no answer is taken for another's,
 * and nothing is believed that the plain reading of the message does not say.
 */
import assert from 'node:assert/strict';
import { decideAnswer, decideQuery } from '../../dns-proxy/decide.ts';
import { RCODE } from '../../dns-proxy/message/constants.ts';
import { encodeName } from '../../dns-proxy/message/name.ts';
import { QueryPolicies, type NameRule } from '../../dns-proxy/rules/query-policy.ts';
import { referenceReading } from './dns-reference.ts';
import type { Random } from './random.ts';

/** Rules, and what they mean put in another way: over the name as it stands in the message. */
const RULES: readonly { readonly rule: NameRule; readonly means: RegExp }[] = [
  { rule: { matchName: 'www.cilium.io' }, means: /^www\.cilium\.io\.$/ },
  { rule: { matchPattern: '*.com' }, means: /^[-a-z0-9_]*\.com\.$/ },
  { rule: { matchPattern: '*.cilium.*' }, means: /^[-a-z0-9_]*\.cilium\.[-a-z0-9_]*\.$/ },
  { rule: { matchPattern: '**.io' }, means: /^(?:[-a-z0-9_]+\.)+io\.$/ },
  { rule: { matchPattern: 'x*z.a' }, means: /^x[-a-z0-9_]*z\.a\.$/ },
];
const SERVER = { server: 700, protocol: 17, port: 53 } as const;

export function checkDecisions(message: Uint8Array, random: Random): void {
  const chosen = RULES.filter(() => random.chance(0.5));
  checkQuery(message, chosen);
  checkAnswer(message, random);
}

function checkQuery(message: Uint8Array, rules: readonly (typeof RULES)[number][]): void {
  const policies = new QueryPolicies();
  // Without rules every name would do: an endpoint that has none of them has no entry.
  const names = rules.map(({ rule }) => rule);
  if (rules.length > 0) policies.replace(1, [{ ...SERVER, peers: [SERVER.server], endPort: 0, names }]);
  const ask = (name: string) => policies.decide(1, { ...SERVER, name });
  const decision = decideQuery(message, 0, message.length, ask, RCODE.REFUSED);
  if (decision.kind === 'ignore') return;
  if (decision.kind === 'answer') {
    assert.ok(decision.answer.length >= 12 && (decision.answer[2]! & 0x80) !== 0, 'an answer is a response');
    assert.deepEqual(decision.answer.subarray(0, 2), message.subarray(0, 2), 'it has the number of the query');
    assert.notEqual(decision.rcode, 0, 'it says no');
    return;
  }
  const asked = plainQuestion(message);
  assert.ok(asked !== undefined, 'what goes on has one question that can be read plainly');
  assert.ok(
    rules.some(({ means }) => means.test(asked.name)),
    `${asked.name} is allowed`,
  );
}

function checkAnswer(message: Uint8Array, random: Random): void {
  const asked = plainQuestion(message);
  const own = message.length >= 2 ? (message[0]! << 8) | message[1]! : 0;
  const id = random.chance(0.8) ? own : random.below(65_536);
  const name = random.chance(0.8) && asked !== undefined ? asked.canonical : 'www.cilium.io.';
  const type = random.chance(0.8) && asked !== undefined ? asked.type : 1;
  const decision = decideAnswer(message, 0, message.length, id, { question: { name, type, class: asked?.class ?? 1 } });
  if (decision === undefined) return;
  assert.equal(id, own, 'taken with its own number');
  assert.equal(message[2]! & 0x80, 0x80, 'taken as a response');
  if (decision.response === undefined) {
    assert.equal(message.length, 12);
    assert.equal(decision.lesson, undefined, 'a bare error teaches nothing');
    return;
  }
  assert.ok(asked !== undefined);
  assert.deepEqual([name, type], [asked.canonical, asked.type], 'taken for its own question');
  const expected = referenceReading(message);
  if (decision.lesson === undefined) {
    assert.ok(typeof expected === 'string', 'what is plain is learned');
    return;
  }
  assert.ok(typeof expected === 'object', 'what is learned is plain');
  const addresses = decision.lesson.addresses.map(({ bytes }) => Buffer.from(bytes).toString('hex'));
  assert.deepEqual({ name, ttl: decision.lesson.ttl, addresses }, expected, 'believed');
}

interface PlainQuestion {
  /** Lower case, final dot; a byte that no rule can name stands for itself. */
  readonly name: string;
  /** As the codec writes it. */
  readonly canonical: string;
  readonly type: number;
  readonly class: number;
}

const lower = (text: string): string => text.toLowerCase();

/** The only question, read from the wire without any of the codec; undefined when there is none such. */
function plainQuestion(message: Uint8Array): PlainQuestion | undefined {
  const view = Buffer.from(message);
  if (view.length < 17 || view.readUInt16BE(4) !== 1) return undefined;
  const labels: Buffer[] = [];
  let at = 12;
  for (;;) {
    const size = view[at];
    if (size === undefined || size >= 0x40 || at + 1 + size > view.length) return undefined;
    at += 1 + size;
    if (size === 0) break;
    labels.push(view.subarray(at - size, at));
  }
  if (at - 12 > 255 || at + 4 > view.length) return undefined;
  const name = labels.map((label) => `${label.toString('latin1').replace(/[A-Z]/g, lower)}.`).join('');
  const canonical = labels.length === 0 ? '.' : labels.map((label) => `${canonicalLabel(label)}.`).join('');
  const wire = Buffer.from(view.subarray(12, at).toString('latin1').replace(/[A-Z]/g, lower), 'latin1');
  assert.ok(wire.equals(encodeName(canonical) ?? wire.subarray(1)), 'the canonical name is what the wire says');
  // A dot inside a label is no end of one.
  const dotted = labels.some((label) => label.includes('.'));
  const [type, klass] = [view.readUInt16BE(at), view.readUInt16BE(at + 2)];
  return { name: dotted ? '' : name, canonical, type, class: klass };
}

function canonicalLabel(label: Buffer): string {
  return Array.from(label, (byte) => {
    if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, '0')}`;
    return String.fromCharCode(byte).toLowerCase();
  }).join('');
}
