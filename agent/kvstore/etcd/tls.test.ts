/** etcd that asks its clients for certificates: who is let in, and what the others are told. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Authority } from '../../../test/harness/certificates.ts';
import { Etcd, type TlsFiles } from '../../../test/harness/etcd.ts';
import { systemClock } from '../../model/clock.ts';
import type { WeirError } from '../../model/errors.ts';
import { EtcdClient } from './client.ts';
import { loadEtcdConfig } from './config.ts';

describe('etcd over TLS', { timeout: 120_000 }, () => {
  const stack = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-etcd-tls-'));
  let etcd: Etcd;
  let ours: TlsFiles;
  let theirs: TlsFiles;

  before(async () => {
    stack.defer(() => rmSync(directory, { recursive: true }));
    const [authority, stranger] = [stack.use(new Authority('etcd')), stack.use(new Authority('stranger'))];
    ours = authority.issue('agent');
    theirs = stranger.issue('agent');
    etcd = stack.use(await Etcd.start({ tls: { server: authority.issue('etcd'), client: ours } }));
  });
  after(() => stack.disposeAsync());

  /** Writes a file as `--kvstore-opt etcd.config=FILE` names it. */
  const configure = ({ ca, cert, key }: Partial<TlsFiles>): string => {
    const file = path.join(directory, 'etcd.config');
    const entries = { endpoints: [etcd.url], 'trusted-ca-file': ca, 'cert-file': cert, 'key-file': key };
    writeFileSync(file, JSON.stringify(entries));
    return file;
  };
  const clientOf = (files: Partial<TlsFiles>): EtcdClient => {
    const config = configure(files);
    const reload = () => loadEtcdConfig({ config, addresses: [] });
    return new EtcdClient({ config: reload(), reload, clock: systemClock });
  };

  test('keys, leases and watches, with a certificate of the authority', async () => {
    using client = clientOf(ours);
    const lease = await client.grantLease(60);
    const seen = Promise.withResolvers<string>();
    const stop = client.watch('tls/', 1, {
      onCreated: () => undefined,
      onEvents: ([event]) => seen.resolve(event?.type === 'put' ? event.entry.value : ''),
      onProgress: () => undefined,
      onEnd: (error) => seen.reject(error),
    });
    await client.put('tls/key', 'value', lease);
    assert.equal(await seen.promise, 'value');
    stop();
    assert.ok(await client.renewLease(lease));
    assert.equal((await client.get('tls/key'))?.lease, lease);
  });

  for (const [who, files, said] of [
    [
      'a store that another authority vouches for',
      () => ({ ...ours, ca: theirs.ca }),
      /^etcd https:.*: the certificate of etcd is not trusted: unable to verify.*\(.*trusted-ca-file/s,
    ],
    [
      'a client of another authority',
      () => ({ ...theirs, ca: ours.ca }),
      /etcd refuses the certificate of this client: bad certificate \(.*cert-file/,
    ],
    [
      'a client without a certificate',
      () => ({ ca: ours.ca }),
      /etcd refuses the certificate of this client: .*cert-file/,
    ],
  ] as const) {
    test(`${who} is refused, and the error says why and what helps`, async () => {
      using client = clientOf(files());
      await assert.rejects(client.get('tls/key'), (error: WeirError) => {
        assert.equal(error.code, 'KVSTORE_UNREACHABLE');
        assert.match(error.describe(), said);
        return true;
      });
    });
  }

  test('certificates that are renewed on disk are used for the next connection', async () => {
    using client = clientOf({ ...theirs, ca: ours.ca });
    await assert.rejects(client.get('tls/key'), { code: 'KVSTORE_UNREACHABLE' });
    configure(ours);
    // The fault of the old ones leads to the new ones.
    await assert.rejects(client.get('tls/key'), { code: 'KVSTORE_UNREACHABLE' });
    await client.put('tls/renewed', 'yes');
    assert.equal((await client.get('tls/renewed'))?.value, 'yes');
  });

  for (const [what, files, said] of [
    ['a key of another certificate', () => ({ ...ours, key: theirs.key }), /agent\.key.*key values mismatch/],
    ['a certificate without its key', () => ({ ca: ours.ca, cert: ours.cert }), /key-file.*is missing/],
    ['a file without a certificate', () => ({ ...ours, cert: import.meta.filename }), /tls\.test\.ts.*no start line/],
  ] as const) {
    test(`${what} is a fault of the configuration`, () => {
      assert.throws(
        () => clientOf(files()),
        (error: WeirError) => error.code === 'CONFIG_INVALID' && said.test(error.describe()),
      );
    });
  }
});
