import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide, mergeKeys, resolveTable, SideItems, withAudit } from './decision.ts';
import { Covering, type Entry, type Item, type Scope } from './entry.ts';
import { lookup } from './lookup.ts';
import { portKey, portMask } from './ports.ts';
import { precedence } from './precedence.ts';

const union = (a: number, b: number): number => Math.max(a, b);

function items(
  verdicts: readonly Entry['verdict'][],
  auth: boolean,
  scopes: readonly Scope[] = ['both'],
): fc.Arbitrary<readonly Item[]> {
  const item = fc
    .record({
      protocol: fc.constantFrom(0, 6, 17),
      port: fc.constantFrom(0, 80, 81, 443),
      prefix: fc.constantFrom(0, 8, 15, 16),
      tier: fc.nat(2),
      verdict: fc.constantFrom(...verdicts),
      auth: fc.constantFrom(undefined, 0, 1, 2),
      scope: fc.constantFrom(...scopes),
    })
    .map(({ protocol, port, prefix, tier, verdict, auth: authType, scope }) => {
      const length = protocol === 0 ? 0 : prefix;
      const explicit = auth && verdict === 'allow' && authType !== undefined;
      const entry: Entry = {
        verdict,
        precedence: precedence(1 + tier, verdict),
        redirect: undefined,
        authType: explicit ? authType : 0,
        authExplicit: explicit,
        cookie: 1,
      };
      return { key: portKey(protocol, port & portMask(length), length), tier, scope, entry };
    });
  return fc.array(item, { maxLength: 6 });
}

function text(entry: Entry | undefined): string {
  if (entry === undefined || entry.verdict === 'deny') return 'deny';
  return `allow ${entry.authType}${entry.audited === true ? ' audited' : ''}`;
}

/** What those items decide that count for one of the two decisions. */
function decided(own: readonly Item[], all: readonly Item[], key: number, without: Scope): Entry | undefined {
  const side = (of: readonly Item[]): readonly Item[] =>
    new Covering(
      mergeKeys(
        of.filter(({ scope }) => scope !== without),
        union,
      ),
    ).of(key);
  return decide(side(own), side(all));
}

/** The two longest matches decide as all items together, whatever the packet. */
function holds(own: readonly Item[], all: readonly Item[], entangled: boolean): void {
  const side = new SideItems(all, union);
  const any = resolveTable(side, undefined, entangled, union);
  const table = resolveTable(new SideItems(own, union), { side, table: any }, entangled, union);
  for (const protocol of [6, 17, 132]) {
    for (const port of [0, 1, 80, 81, 82, 443, 65535]) {
      const key = portKey(protocol, port, 16);
      const enforced = decided(own, all, key, 'audited');
      const scoped = [...own, ...all].some(({ scope }) => scope !== 'both');
      const wanted = scoped ? withAudit(enforced, decided(own, all, key, 'enforced'), (cookie) => cookie) : enforced;
      assert.equal(text(lookup(table, any, protocol, port)), text(wanted), `${protocol}/${port}`);
    }
  }
  for (const entry of [...table.entries, ...any.entries]) {
    assert.ok(entry.precedence <= 0xffff_ffff && entry.verdict !== 'pass');
  }
}

test('without Pass and authentication, dropping what is outranked is enough', () => {
  const simple = items(['allow', 'deny'], false);
  fc.assert(
    fc.property(simple, simple, (own, all) => holds(own, all, false)),
    { numRuns: 300 },
  );
});

test('with Pass and authentication, tables are made to fit key by key', () => {
  const any = items(['allow', 'deny', 'pass'], true);
  fc.assert(
    fc.property(any, any, (own, all) => holds(own, all, true)),
    { numRuns: 500 },
  );
});

test('what audited policies would deny is allowed and marked, whatever is enforced', () => {
  const any = items(['allow', 'deny', 'pass'], true, ['both', 'both', 'enforced', 'audited']);
  fc.assert(
    fc.property(any, any, (own, all) => holds(own, all, true)),
    { numRuns: 500 },
  );
});

test('Pass leaves the rest of its tier out, and nothing else (S38)', () => {
  const item = (tier: number, level: number, verdict: Entry['verdict'], key = 0): Item => ({
    key,
    tier,
    scope: 'both',
    entry: {
      verdict,
      precedence: precedence(level, verdict),
      redirect: undefined,
      authType: 0,
      authExplicit: false,
      cookie: level,
    },
  });
  assert.equal(decide([item(0, 1, 'pass')], [item(0, 2, 'deny'), item(1, 3, 'allow')])?.cookie, 3);
  assert.equal(decide([item(0, 2, 'pass')], [item(0, 1, 'deny')])?.verdict, 'deny');
  assert.equal(decide([item(0, 1, 'pass')], [item(0, 2, 'deny')]), undefined);
});
