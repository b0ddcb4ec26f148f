import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { sortEdits, stepsOf, type PolicyEdit, type PolicySlot, type PolicyValues } from './policy-plan.ts';

/*
 * A small model of the kernel's map: a key is an identity (0 is any) and a binary prefix such as `7/01`; a value is a kind
 * and a precedence such as `D5`: D denies, A allows, R redirects, and a cookie follows.
 */
type Entries = Map<string, string>;

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const bytes = (of: string) => Buffer.from(of);

const VALUES: PolicyValues = {
  guard: () => bytes('D9'),
  isPlainAllow: (value) => text(value).startsWith('A'),
  decidesAlike: (a, b) => text(a).slice(0, 2) === text(b).slice(0, 2),
};

const PORTS = ['00', '01', '10', '11'];

function longest(entries: Entries, identity: number, port: string): { value: string; length: number } | undefined {
  for (let length = port.length; length >= 0; length--) {
    const value = entries.get(`${identity}/${port.slice(0, length)}`);
    if (value !== undefined) return { value, length };
  }
  return undefined;
}

/** What a packet of identity 7 gets (S7): 0 denied, 1 redirected, 2 allowed. */
function verdict(entries: Entries, port: string): number {
  const exact = longest(entries, 7, port);
  const any = longest(entries, 0, port);
  if (exact === undefined || any === undefined) return level((exact ?? any)?.value);
  const [a, b] = [Number(exact.value[1]), Number(any.value[1])];
  if (a !== b) return level(a > b ? exact.value : any.value);
  return Math.min(level(exact.value), level(any.value));
}

function level(value: string | undefined): number {
  return value === undefined ? 0 : 'DRA'.indexOf(value[0]!);
}

function editsBetween(before: Entries, after: Entries): PolicyEdit[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((key) => before.get(key) !== after.get(key))
    .map((key) => ({
      key: bytes(key),
      ...(before.has(key) && { before: bytes(before.get(key)!) }),
      ...(after.has(key) && { after: bytes(after.get(key)!) }),
    }));
}

interface Step {
  readonly write: readonly PolicySlot[];
  readonly remove: readonly Uint8Array[];
}

function plan(before: Entries, after: Entries): readonly Step[] {
  const rest = [...before].filter(([key, value]) => after.get(key) === value);
  const sorted = sortEdits(editsBetween(before, after), VALUES);
  const changedPlain = sorted.before.special + sorted.after.special === 0;
  return stepsOf(changedPlain && rest.every(([, value]) => VALUES.isPlainAllow(bytes(value))))
    .map((step) => ({
      write: step === 'guard' ? sorted.guards : step === 'write' ? sorted.writes : [],
      remove: step === 'remove' ? sorted.removals : [],
    }))
    .filter(({ write, remove }) => write.length + remove.length > 0);
}

/** The map after each single operation, as a packet on another CPU may see it. */
function* states(before: Entries, steps: readonly Step[]): Generator<Entries> {
  const entries = new Map(before);
  for (const { write, remove } of steps) {
    for (const { key, value } of write) yield entries.set(text(key), text(value));
    for (const key of remove) {
      entries.delete(text(key));
      yield entries;
    }
  }
}

const identity = fc.constantFrom(0, 7);
const prefix = fc.constantFrom('', '0', '1', ...PORTS);
const entriesOf = (kinds: readonly string[]) =>
  fc
    .array(fc.tuple(identity, prefix, fc.constantFrom(...kinds), fc.nat(3), fc.constantFrom('', 'x')), { maxLength: 8 })
    .map((list) => new Map(list.map(([id, bits, kind, rank, cookie]) => [`${id}/${bits}`, `${kind}${rank}${cookie}`])));

describe('the plan of a policy update', () => {
  test('no state on the way lets through more than both ends, whatever the entries', () => {
    const any = entriesOf(['D', 'A', 'R']);
    fc.assert(
      fc.property(any, any, (before, after) => {
        for (const state of states(before, plan(before, after))) {
          for (const port of PORTS) {
            const allowed = [0, verdict(before, port), verdict(after, port)];
            assert.ok(allowed.includes(verdict(state, port)), `port ${port} in ${JSON.stringify([...state])}`);
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('among plain allows, nothing that both ends let through is dropped on the way', () => {
    const allows = entriesOf(['A']);
    fc.assert(
      fc.property(allows, allows, (before, after) => {
        for (const state of states(before, plan(before, after))) {
          for (const port of PORTS) {
            const [a, b, now] = [verdict(before, port), verdict(after, port), verdict(state, port)];
            assert.ok(now >= Math.min(a, b) && now <= Math.max(a, b));
          }
        }
      }),
    );
  });

  test('the last state is the wanted one', () => {
    const any = entriesOf(['D', 'A', 'R']);
    fc.assert(
      fc.property(any, any, (before, after) => {
        const last = [...states(before, plan(before, after))].at(-1) ?? before;
        assert.deepEqual(new Map([...last].sort()), new Map([...after].sort()));
      }),
    );
  });

  test('no guard for a cookie, and no step for no change', () => {
    const before = new Map([['7/01', 'D1']]);
    assert.deepEqual(plan(before, before), []);
    const steps = plan(before, new Map([['7/01', 'D1x']]));
    assert.deepEqual(
      steps.map(({ write }) => write.map(({ value }) => text(value))),
      [['D1x']],
    );
  });
});
