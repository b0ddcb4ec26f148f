import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { identityId, type Identity } from '../../model/identity.ts';
import { canonicalLabels, parseLabel } from '../../model/labels.ts';
import {
  ApiRefusal,
  isRefusal,
  type ApiRequest,
  type ApiServer,
  type JsonObject,
  type WatchMessage,
} from './client.ts';
import { UNSETTLED, UNUSED_SINCE } from '../cilium-identity.ts';
import { IdentityObjects } from './identity-objects.ts';

interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly 'security-labels': Readonly<Record<string, string>>;
}

/** What an API server does with CiliumIdentities: each request at one moment, which `turn` chooses. */
class Store implements ApiServer {
  readonly objects = new Map<string, Stored>();
  /** Calls, and whether the answer of one is lost after it took effect. */
  lose: (request: ApiRequest) => boolean = () => false;
  turn: () => Promise<void> = () => Promise.resolve();
  readonly underWay = new Set<ApiRequest>();
  #version = 0;

  async request(request: ApiRequest): Promise<JsonObject> {
    this.underWay.add(request);
    try {
      await this.turn();
      return await this.#answer(request);
    } finally {
      // Whoever asked has gone on by then.
      setImmediate(() => this.underWay.delete(request));
    }
  }

  async #answer(request: ApiRequest): Promise<JsonObject> {
    const answer = this.#do(request);
    const lost = this.lose(request);
    await this.turn();
    if (lost) throw new ApiRefusal(request.path, 504, { message: 'lost' });
    return answer;
  }

  watch(): AsyncIterable<readonly WatchMessage[]> {
    throw new Error('nobody watches here');
  }

  settled(): Stored[] {
    return [...this.objects.values()].filter(({ metadata }) => metadata.annotations[UNSETTLED] === undefined);
  }

  #do({ method, path, query, body }: ApiRequest): JsonObject {
    const name = path.split('/')[5] ?? '';
    const refuse = (status: number) => new ApiRefusal(`${method} ${path}`, status, {});
    const object = this.objects.get(name);
    const version = (): string => String(++this.#version);
    if (method === 'GET' && name === '') {
      const [key, value] = String(query!['labelSelector']).split('=');
      const items = [...this.objects.values()].filter(({ metadata }) => metadata.labels[key!] === value);
      return { metadata: { resourceVersion: String(this.#version) }, items };
    }
    if (method === 'POST') {
      const made = body as Stored;
      if (this.objects.has(made.metadata.name)) throw refuse(409);
      const metadata = { ...made.metadata, uid: version(), resourceVersion: version() };
      this.objects.set(made.metadata.name, { ...made, metadata });
      return this.objects.get(made.metadata.name) as unknown as JsonObject;
    }
    if (object === undefined) throw refuse(404);
    if (method === 'DELETE') {
      const { uid, resourceVersion } = (body as { preconditions: Record<string, string> }).preconditions;
      if (object.metadata.uid !== uid || object.metadata.resourceVersion !== resourceVersion) throw refuse(409);
      this.objects.delete(name);
    }
    if (method === 'PATCH') {
      const { metadata } = body as {
        metadata: { resourceVersion: string; annotations: Record<string, string | null> };
      };
      if (object.metadata.resourceVersion !== metadata.resourceVersion) throw refuse(409);
      this.annotate(name, metadata.annotations);
    }
    return (this.objects.get(name) ?? {}) as JsonObject;
  }

  annotate(name: string, changes: Readonly<Record<string, string | null>>): void {
    const object = this.objects.get(name)!;
    const merged = Object.entries({ ...object.metadata.annotations, ...changes });
    const annotations = Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== null));
    const resourceVersion = String(++this.#version);
    this.objects.set(name, { ...object, metadata: { ...object.metadata, annotations, resourceVersion } });
  }
}

const labels = (app: string) =>
  canonicalLabels([parseLabel(`k8s:app=${app}`), parseLabel('k8s:io.kubernetes.pod.namespace=default')]);

describe('identities as objects', () => {
  test('are made once, with the labels, and found again', async () => {
    const store = new Store();
    const one = await new IdentityObjects({ server: store }).agree(labels('web'));
    const other = await new IdentityObjects({ server: store }).agree(labels('web'));
    assert.deepEqual(one, other);
    assert.ok(one.id >= 256 && one.id <= 65535);
    const object = store.objects.get(String(one.id))!;
    assert.deepEqual(object['security-labels'], { 'k8s:app': 'web', 'k8s:io.kubernetes.pod.namespace': 'default' });
    assert.equal(object.metadata.labels['io.kubernetes.pod.namespace'], 'default');
    assert.deepEqual(object.metadata.annotations, {});
    assert.equal(store.objects.size, 1);
  });

  test('keep the number that is asked for, when it is free', async () => {
    const store = new Store();
    const agreed = await new IdentityObjects({ server: store }).agree(labels('web'), identityId(4711));
    assert.equal(agreed.id, 4711);
    const other = await new IdentityObjects({ server: store }).agree(labels('db'), identityId(4711));
    assert.notEqual(other.id, 4711);
  });

  test('one that is marked as unused loses the mark before it is used, or is not used', async () => {
    const store = new Store();
    const objects = new IdentityObjects({ server: store });
    const web = await objects.agree(labels('web'));
    store.annotate(String(web.id), { [UNUSED_SINCE]: 'long ago' });
    objects.observe(web.id, true);
    const marked = store.objects.get(String(web.id))!;
    assert.equal(await objects.reuse(web), true);
    const { annotations, resourceVersion } = store.objects.get(String(web.id))!.metadata;
    assert.deepEqual(annotations, {});
    assert.notEqual(resourceVersion, marked.metadata.resourceVersion, 'the operator’s delete would fail');
    objects.observe(web.id, true);
    store.objects.delete(String(web.id));
    assert.equal(await objects.reuse(web), false);
  });

  test('when no number is left, that is said', async () => {
    const store = new Store();
    const objects = new IdentityObjects({ server: store, scope: { first: 256, last: 257 } });
    await objects.agree(labels('a'));
    await objects.agree(labels('b'));
    await assert.rejects(objects.agree(labels('c')), { code: 'IDENTITY_EXHAUSTED' });
  });
});

/** Nodes that come and go with their wishes, over few numbers, so that they collide; and a collector. */
test('whatever the order of requests, a label set never has two identities, and no number two label sets', async () => {
  const apps = ['a', 'b', 'c'] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ app: fc.constantFrom(...apps), preferred: fc.option(fc.integer({ min: 256, max: 260 })) }), {
        minLength: 2,
        maxLength: 6,
      }),
      fc.array(fc.nat(40), { maxLength: 3 }),
      fc.array(fc.nat(3), { maxLength: 3 }),
      async (scheduler, wishes, losses, collections) => {
        const store = new Store();
        store.turn = () => scheduler.schedule(Promise.resolve());
        let call = 0;
        store.lose = ({ method }) => method !== 'GET' && losses.includes(call++);
        /** Identities that somebody uses: what the operator sees as endpoints. */
        const used = new Map<string, number>();
        const answers: Identity[] = [];
        const node = async ({ app, preferred }: (typeof wishes)[number]): Promise<void> => {
          const objects = new IdentityObjects({ server: store, scope: { first: 256, last: 260 } });
          for (;;) {
            try {
              const wish = preferred === null ? undefined : identityId(preferred);
              const identity = await objects.agree(labels(app), wish);
              used.set(app, identity.id);
              answers.push(identity);
              return;
            } catch (error) {
              if (!isRefusal(error, 504)) throw error;
            }
          }
        };
        /**
         * Marks what nobody uses, and deletes the marked version much later: requests that were under way at the mark have
         * been answered by then.
         */
        const collect = async (index: number): Promise<void> => {
          await store.turn();
          const isUsed = (name: string): boolean => [...used.values()].includes(Number(name));
          const object = [...store.objects.values()][index];
          if (object === undefined || isUsed(object.metadata.name)) return;
          const { name } = object.metadata;
          store.annotate(name, { [UNUSED_SINCE]: 'then' });
          const { uid, resourceVersion } = store.objects.get(name)!.metadata;
          const underWay = new Set(store.underWay);
          while ([...underWay].some((request) => store.underWay.has(request))) await store.turn();
          if (isUsed(name)) return;
          const request = {
            method: 'DELETE',
            path: `/a/b/c/d/${name}`,
            body: { preconditions: { uid, resourceVersion } },
          };
          await store.request(request as ApiRequest).catch(() => undefined);
        };
        const work = [...wishes.map(node), ...collections.map(collect)];
        // At no moment are there two.
        while (scheduler.count() > 0) {
          await scheduler.waitNext(1);
          const sets = store.settled().map((object) => object['security-labels']['k8s:app']);
          assert.equal(new Set(sets).size, sets.length, `settled twice: ${sets.join(' ')}`);
          await new Promise((resolve) => setImmediate(resolve));
        }
        await Promise.all(work);
        for (const app of apps) {
          const numbers = new Set(answers.filter(({ labels: [first] }) => first?.value === app).map(({ id }) => id));
          assert.ok(numbers.size <= 1, `${app} has ${[...numbers].join(' and ')}`);
        }
      },
    ),
    { numRuns: 200 },
  );
});
