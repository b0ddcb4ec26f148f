import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { cidrContains, formatCidr, parseAddress, parseCidr } from '../model/address.ts';
import { identityId } from '../model/identity.ts';
import { Ipcache, type IpcacheChange, type IpcacheRecord } from './ipcache.ts';
import { IPCACHE_SOURCES, type IpcacheSource } from './source.ts';

function record(prefix: string, identity: number, source: IpcacheSource, owner = ''): IpcacheRecord {
  return { prefix: parseCidr(prefix), identity: identityId(identity), source, owner };
}

/** A cache and what its listener heard, as `prefix before>after` texts. */
function setUp() {
  const heard: string[][] = [];
  const cache = new Ipcache();
  const text = ({ prefix, before, after }: IpcacheChange) =>
    `${formatCidr(prefix)} ${before?.identity ?? '-'}>${after?.identity ?? '-'}`;
  const stop = cache.subscribe((changes) => heard.push(changes.map(text)));
  return { cache, heard, stop };
}

describe('Ipcache', () => {
  test('believes the best source, whoever speaks last, and falls back when it goes silent', () => {
    const { cache, heard } = setUp();
    cache.upsert(record('10.0.0.1/32', 100, 'kvstore'));
    cache.upsert(record('10.0.0.1/32', 200, 'local', 'endpoint 7'));
    cache.upsert(record('10.0.0.1/32', 300, 'generated'));
    assert.equal(cache.get(parseCidr('10.0.0.1'))?.identity, 200);
    cache.remove({ prefix: parseCidr('10.0.0.1'), source: 'local', owner: 'endpoint 7' });
    cache.remove({ prefix: parseCidr('10.0.0.1'), source: 'kvstore', owner: '' });
    cache.remove({ prefix: parseCidr('10.0.0.1'), source: 'generated', owner: '' });
    assert.deepEqual(heard.flat(), [
      '10.0.0.1/32 ->100',
      '10.0.0.1/32 100>200',
      '10.0.0.1/32 200>100',
      '10.0.0.1/32 100>300',
      '10.0.0.1/32 300>-',
    ]);
    assert.equal(cache.size, 0);
  });

  test('a late removal by the former owner of an address does not take it from the present one', () => {
    const { cache, heard } = setUp();
    cache.upsert(record('10.0.0.1', 100, 'local', 'endpoint 1'));
    cache.upsert(record('10.0.0.1', 200, 'local', 'endpoint 2'));
    cache.removeOwner('local', 'endpoint 1');
    assert.equal(cache.lookup(parseAddress('10.0.0.1'))?.identity, 200);
    assert.deepEqual(heard.at(-1), ['10.0.0.1/32 100>200']);
  });

  test('one change is heard as its outcome, and no change is not heard', () => {
    const { cache, heard } = setUp();
    cache.apply([record('10.0.0.1', 1, 'local'), record('10.0.0.2', 2, 'local')], []);
    cache.upsert(record('10.0.0.1', 1, 'local'));
    cache.apply([record('10.0.0.3', 3, 'local')], [record('10.0.0.3', 0, 'local'), record('10.0.0.2', 0, 'local')]);
    assert.deepEqual(heard, [['10.0.0.1/32 ->1', '10.0.0.2/32 ->2'], ['10.0.0.2/32 2>-']]);
  });

  test('a late subscriber is told what stands, and nothing after it has ended', () => {
    const { cache, stop } = setUp();
    cache.upsert(record('10.0.0.0/8', 1, 'generated'));
    const heard: (readonly IpcacheChange[])[] = [];
    cache.subscribe((changes) => heard.push(changes))();
    cache.upsert(record('11.0.0.0/8', 1, 'generated'));
    assert.equal(heard.length, 1);
    assert.equal(heard[0]?.[0]?.after?.identity, 1);
    stop();
  });

  test('tells what the answer would be without a source', () => {
    const { cache } = setUp();
    cache.upsert(
      record('10.0.0.0/8', 1, 'generated'),
      record('10.0.0.1', 2, 'generated'),
      record('10.0.0.1', 3, 'fqdn'),
    );
    cache.upsert(record('10.0.0.2', 4, 'fqdn'));
    const identity = (text: string): number | undefined => cache.lookup(parseAddress(text), 'fqdn')?.identity;
    assert.deepEqual([identity('10.0.0.1'), identity('10.0.0.2'), identity('11.0.0.1')], [2, 1, undefined]);
    assert.equal(cache.lookup(parseAddress('10.0.0.1'))?.identity, 3);
  });

  test('the longest prefix answers, as one checks by trying them all', () => {
    const prefix = fc
      .tuple(fc.constantFrom('10.1.2.3', '10.1.2.200', '10.9.0.1', 'fd00::1', 'fd00::ff00'), fc.nat(128))
      .map(([address, length]) => parseCidr(`${address}/${address.includes(':') ? length : length % 33}`));
    const entry = fc.record({
      prefix,
      identity: fc.nat(1000).map(identityId),
      source: fc.constantFrom(...IPCACHE_SOURCES),
      owner: fc.constantFrom('a', 'b'),
      gone: fc.boolean(),
    });
    const address = fc.constantFrom('10.1.2.3', '10.1.2.201', '11.0.0.1', 'fd00::2', '::').map(parseAddress);
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 30 }), address, (entries, wanted) => {
        const cache = new Ipcache();
        const mirror = new Map<string, IpcacheRecord>();
        cache.subscribe((changes) => {
          for (const { prefix: at, after } of changes) {
            if (after === undefined) mirror.delete(formatCidr(at));
            else mirror.set(formatCidr(at), after);
          }
        });
        for (const { gone, ...said } of entries) {
          if (gone) cache.remove(said);
          else cache.upsert(said);
        }
        // Who listens knows what stands.
        assert.deepEqual([...mirror.values()].map(text).sort(), [...cache.entries()].map(text).sort());
        const covering = [...cache.entries()].filter((at) => cidrContains(at.prefix, wanted));
        const longest = covering.sort((a, b) => b.prefix.length - a.prefix.length)[0];
        assert.deepEqual(cache.lookup(wanted), longest);
      }),
    );
    function text(at: IpcacheRecord): string {
      return `${formatCidr(at.prefix)}=${at.identity} ${at.source}/${at.owner}`;
    }
  });
});
