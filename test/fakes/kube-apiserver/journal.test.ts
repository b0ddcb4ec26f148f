import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { uniqueName } from '../../harness/run.ts';
import { Client } from './client.ts';
import { openStore } from './journal.ts';
import type { Json } from './object.ts';
import { KubeApiServer } from './server.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';

describe('journal', () => {
  let folder = '';
  let file = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), `${uniqueName('journal')}-`));
    file = path.join(folder, 'store');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** What a server says whose store is the file. */
  async function serving<T>(work: (client: Client) => Promise<T>): Promise<T> {
    using stored = openStore(file);
    await using server = await new KubeApiServer({ tls: false, store: stored.store }).start();
    return await work(new Client(server));
  }
  const create = async (client: Client, name: string): Promise<void> => {
    assert.equal((await client.post(MAPS, { metadata: { name } })).code, 201);
  };
  const namesIn = (body: Json): string[] =>
    (body['items'] as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name);

  it('holds objects, deletions and revisions over a restart', async () => {
    const before = await serving(async (client) => {
      await create(client, 'kept');
      await create(client, 'gone');
      await client.delete(`${MAPS}/gone`);
      return (await client.get(MAPS)).body;
    });
    const after = await serving(async (client) => (await client.get(MAPS)).body);
    assert.deepEqual(namesIn(after), ['kept']);
    assert.deepEqual(after, before);
  });

  it('drops a line that was not written to its end', async () => {
    await serving(async (client) => await create(client, 'whole'));
    const size = readFileSync(file).length;
    appendFileSync(file, '{"collection":"/configmaps","type":"ADD');
    assert.deepEqual(await serving(async (client) => namesIn((await client.get(MAPS)).body)), ['whole']);
    assert.equal(readFileSync(file).length, size);
  });

  it('begins another epoch: from the versions of the one before nothing can be watched', async () => {
    const version = await serving(async (client) => {
      await create(client, 'old');
      return ((await client.get(MAPS)).body['metadata'] as { resourceVersion: string }).resourceVersion;
    });
    {
      using stored = openStore(file);
      stored.beginEpoch();
    }
    await serving(async (client) => {
      const stop = new AbortController();
      const events = client.watch(`${MAPS}?watch=1&resourceVersion=${version}`, stop.signal);
      const { value } = (await events.next()) as { value: { type: string; object: Json } };
      stop.abort();
      assert.equal(value.type, 'ERROR');
      assert.equal(value.object['code'], 410);
      assert.deepEqual(namesIn((await client.get(MAPS)).body), ['old']);
    });
  });
});
