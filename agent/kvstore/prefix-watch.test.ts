import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Etcd } from '../../test/harness/etcd.ts';
import { Gate } from '../../test/harness/gate.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { systemClock } from '../model/clock.ts';
import { EtcdClient } from './etcd/client.ts';
import { PrefixWatch } from './prefix-watch.ts';

const PREFIX = 'test/';

/** A watch behind a gate, what it has told, and a client that goes round the gate. */
class Scene implements AsyncDisposable {
  readonly etcd: Etcd;
  readonly direct: EtcdClient;
  readonly gate: Gate;
  /** Keys as the watch has told them. */
  readonly told = new Map<string, string>();
  readonly log: string[] = [];
  readonly errors: unknown[] = [];
  returns = 0;
  readonly watch: PrefixWatch;
  readonly #client: EtcdClient;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  private constructor(etcd: Etcd, gate: Gate, graceMs: number) {
    this.etcd = etcd;
    this.gate = gate;
    this.direct = etcd.client();
    this.#client = new EtcdClient({ config: { endpoints: [`127.0.0.1:${gate.port}`] }, clock: systemClock });
    this.watch = new PrefixWatch({
      ...{ client: this.#client, clock: systemClock, prefix: PREFIX, graceMs },
      onPut: (name, value) => {
        this.told.set(name, value);
        this.log.push(`${name}=${value}`);
      },
      onDelete: (name) => {
        this.told.delete(name);
        this.log.push(`-${name}`);
      },
      onReturn: () => this.returns++,
      onState: (error) => this.errors.push(error),
    });
    this.#running = this.watch.run(this.#stop.signal);
  }

  static async start({ graceMs = 1_000, keys = [] as readonly string[] } = {}): Promise<Scene> {
    const etcd = await Etcd.start();
    using client = etcd.client();
    for (const key of keys) await client.put(PREFIX + key, '0');
    return new Scene(etcd, await Gate.before(Number(new URL(etcd.url).port)), graceMs);
  }

  put(name: string, value: string): Promise<void> {
    return this.direct.put(PREFIX + name, value);
  }

  delete(name: string): Promise<void> {
    return this.direct.delete(PREFIX + name);
  }

  async becomes(expected: Readonly<Record<string, string>>): Promise<void> {
    const wanted = JSON.stringify(Object.entries(expected).sort());
    await waitFor(wanted, () => JSON.stringify([...this.told].sort()) === wanted, 20_000);
  }

  /** Closes the gate, and waits until the watch has noticed. */
  async cut(): Promise<void> {
    const before = this.errors.length;
    this.gate.close();
    await waitFor('the watch to notice', () => this.errors.slice(before).some((error) => error !== undefined), 20_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#client[Symbol.dispose]();
    this.direct[Symbol.dispose]();
    await this.gate[Symbol.asyncDispose]();
    await this.etcd[Symbol.asyncDispose]();
  }
}

describe('a prefix of etcd, followed', { timeout: 240_000 }, () => {
  test('all there is, then each change, across pages', async () => {
    const keys = Array.from({ length: 2_500 }, (_, i) => `k${i}`);
    await using scene = await Scene.start({ keys });
    await scene.watch.synced;
    assert.equal(scene.told.size, 2_500);
    await scene.direct.put('other/key', 'x');
    await scene.put('k1', '1');
    await scene.delete('k2');
    await waitFor('the changes', () => scene.told.get('k1') === '1' && !scene.told.has('k2'));
    assert.equal(scene.log.length, 2_502, 'each once');
  });

  test('cut off, it goes on from where it was: nothing is told twice, nothing is missed', async () => {
    await using scene = await Scene.start({ keys: ['a', 'b'] });
    await scene.becomes({ a: '0', b: '0' });
    await scene.cut();
    for (let i = 1; i <= 50; i++) await scene.put('a', String(i));
    await scene.put('c', '1');
    assert.equal(scene.log.length, 2);
    scene.gate.open();
    await scene.becomes({ a: '50', b: '0', c: '1' });
    assert.deepEqual(scene.log.slice(2), [...Array.from({ length: 50 }, (_, i) => `a=${i + 1}`), 'c=1']);
    assert.equal(scene.returns, 1);
  });

  test('after a compaction it lists again, and tells what differs: no key is away for a moment', async () => {
    await using scene = await Scene.start({ keys: ['a', 'b', 'c'] });
    await scene.becomes({ a: '0', b: '0', c: '0' });
    await scene.cut();
    await scene.put('a', '1');
    await scene.delete('b');
    await scene.put('d', '1');
    const { position } = await scene.direct.list(PREFIX);
    await scene.direct.compact(position.revision);
    scene.gate.open();
    await waitFor('the changes', () => scene.told.get('d') === '1', 20_000);
    assert.equal(scene.told.get('b'), '0', 'what went missing meanwhile is held');
    assert.deepEqual(scene.watch.held(), ['b']);
    await scene.becomes({ a: '1', c: '0', d: '1' });
    assert.deepEqual(scene.log.slice(3), ['a=1', 'd=1', '-b']);
    await scene.put('c', '2');
    await scene.becomes({ a: '1', c: '2', d: '1' });
  });

  test('a key that is away only while the store is, is never told as deleted', async () => {
    await using scene = await Scene.start({ keys: ['a'], graceMs: 3_000 });
    await scene.becomes({ a: '0' });
    await scene.cut();
    await scene.delete('a');
    scene.gate.open();
    await waitFor('it to be held', () => scene.watch.held().length === 1, 20_000);
    await scene.cut();
    await scene.put('a', '0');
    scene.gate.open();
    await waitFor('it to be back', () => scene.log.length === 2, 20_000);
    assert.deepEqual(scene.log, ['a=0', 'a=0']);
    assert.deepEqual(scene.watch.held(), []);
  });

  test('a store that is killed and comes back with all it held, and one that comes back with nothing', async () => {
    await using scene = await Scene.start({ keys: ['a', 'b'], graceMs: 2_000 });
    await scene.becomes({ a: '0', b: '0' });
    await scene.etcd.halt();
    await waitFor('the watch to notice', () => scene.errors.at(-1) !== undefined, 20_000);
    await scene.etcd.resume();
    await waitFor('the watch to be back', () => scene.errors.at(-1) === undefined, 20_000);
    assert.equal(scene.log.length, 2);
    await scene.etcd.wipe();
    await waitFor('keys to be held', () => scene.watch.held().length === 2, 20_000);
    await scene.put('a', '0');
    await scene.becomes({ a: '0' });
    assert.deepEqual(scene.log.slice(2), ['a=0', '-b']);
  });
});
