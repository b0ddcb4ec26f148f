import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { ApiClient } from '../../agent/k8s/apiserver/client.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { listAt, textAt } from '../../test/fakes/kube-apiserver/object.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { clientOf, contextOf, defineKinds } from '../testing.ts';
import { EndpointSlices } from './endpoint-slices.ts';
import { SliceBook } from './slice-book.ts';

const SIZE = 3;

describe('which endpoint stands in which slice', () => {
  test('property: what is written is what there is, each once, and no slice is too full', () => {
    const step = fc.record({
      act: fc.constantFrom('put', 'remove', 'foreign'),
      namespace: fc.constantFrom('a', 'b'),
      n: fc.integer({ min: 0, max: 9 }),
      id: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let names = 0;
        const truth = new Map<string, number>();
        const written = new Map<string, { namespace: string; endpoints: readonly { name: string; id?: unknown }[] }>();
        const dirty = new Set<string>();
        const book: SliceBook = new SliceBook(
          SIZE,
          () => `s${names++}`,
          (slice) => dirty.add(slice),
        );
        const flush = (): void => {
          for (const slice of dirty) {
            const content = book.get(slice);
            if (content === undefined) written.delete(slice);
            else written.set(slice, { namespace: content.namespace, endpoints: [...content.endpoints.values()] });
          }
          dirty.clear();
        };
        for (const { act, namespace, n, id } of steps) {
          const name = `p${n}`;
          if (act === 'put') {
            truth.set(`${namespace}/${name}`, id);
            book.put(namespace, { name, id });
          } else if (act === 'remove') {
            truth.delete(`${namespace}/${name}`);
            book.remove(namespace, name);
          } else {
            // Another operator writes a slice of its own, of endpoints that there are.
            const slice = `r${n}`;
            const endpoints = [...truth]
              .filter(([key]) => key.startsWith(`${namespace}/`))
              .slice(0, SIZE)
              .map(([key, value]) => ({ name: key.slice(2), id: value }));
            if (!written.has(slice)) {
              written.set(slice, { namespace, endpoints });
              book.observe(slice, namespace, endpoints);
            }
          }
          flush();
        }
        const found = [...written.values()].flatMap((slice) =>
          slice.endpoints.map((endpoint): [string, unknown] => [`${slice.namespace}/${endpoint.name}`, endpoint.id]),
        );
        assert.deepEqual(found.sort(), [...truth].sort());
        for (const { endpoints } of written.values()) assert.ok(endpoints.length <= SIZE && endpoints.length > 0);
      }),
    );
  });
});

describe('endpoint slices', () => {
  let cluster: KubeApiServer;
  const clients: ApiClient[] = [];
  const stop = new AbortController();
  const running: Promise<void>[] = [];
  before(async () => {
    cluster = await new KubeApiServer({ tls: false }).start();
    defineKinds(cluster);
  });
  after(async () => {
    stop.abort();
    await Promise.all(running);
    for (const client of clients) client.close();
    await cluster.stop();
  });

  const run = (): void => {
    const client = clientOf(cluster);
    clients.push(client);
    running.push(new EndpointSlices(contextOf(client), { size: 10, perSecond: 200, burst: 50 }).run(stop.signal));
  };
  const endpoint = (name: string, id: number): void => {
    const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata: { name } };
    if (cluster.get('cilium.io/v2/ciliumendpoints', name, 'default') === undefined) cluster.apply(object);
    cluster.applyStatus({
      ...object,
      status: { identity: { id }, networking: { addressing: [{ ipv4: '10.0.0.1' }], node: '192.0.2.1' } },
    });
  };
  const sliced = (): string[] => {
    const slices = [...cluster.store.collection('cilium.io/ciliumendpointslices').values()];
    return slices
      .flatMap((slice) =>
        listAt(slice, 'endpoints').map((item) => `${textAt(slice, 'namespace')}/${textAt(item, 'name')}`),
      )
      .sort();
  };

  test('follow what endpoints there are, whoever else writes slices', async () => {
    for (let i = 0; i < 35; i++) endpoint(`p${i}`, 1000 + i);
    const all = Array.from({ length: 35 }, (_, i) => `default/p${i}`).sort();
    // Left behind by an operator that died: one endpoint that is gone, and one that is there.
    const old = {
      apiVersion: 'cilium.io/v2alpha1',
      kind: 'CiliumEndpointSlice',
      metadata: { name: 'ces-old' },
      namespace: 'default',
    };
    cluster.apply({
      ...old,
      endpoints: [
        { name: 'gone', id: 1 },
        { name: 'p3', id: 1 },
      ],
    });
    run();
    run();
    await waitFor('all of them, each once', () => sliced().join() === all.join());
    cluster.remove('cilium.io/v2/ciliumendpoints', 'p7', 'default');
    endpoint('p8', 4242);
    await waitFor('the change', () => !sliced().includes('default/p7'));
    const slices = (): unknown[] => [...cluster.store.collection('cilium.io/ciliumendpointslices').values()];
    await waitFor('the identity', () => JSON.stringify(slices()).includes('4242'));
    // A slice that somebody deletes is written again.
    cluster.remove('cilium.io/v2alpha1/ciliumendpointslices', textAt(slices()[0], 'metadata', 'name'));
    await waitFor('the slice', () => sliced().length === 34);
  });
});
