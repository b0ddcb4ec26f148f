import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { errorText, WeirError } from '../../model/errors.ts';
import { ManualClock } from '../../model/manual-clock.ts';
import {
  ApiRefusal,
  type ApiRequest,
  type ApiServer,
  type JsonObject,
  type Query,
  type WatchMessage,
} from './client.ts';
import { Reflector, type ReflectorState } from './reflector.ts';

/** Answers as the test says, one call after the other. */
class ScriptedServer implements ApiServer {
  readonly calls: string[] = [];
  readonly answers: (JsonObject | Error)[] = [];
  readonly streams: Stream[] = [];
  watchList = false;

  request({ method, path, query }: ApiRequest): Promise<JsonObject> {
    this.calls.push(`${method} ${path}${describeQuery(query)}`);
    const answer = this.answers.shift() ?? new WeirError('KUBERNETES_UNREACHABLE', 'nobody there');
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }

  watch(path: string, query: Query, signal: AbortSignal): AsyncIterable<readonly WatchMessage[]> {
    this.calls.push(`WATCH ${path}${describeQuery(query)}`);
    if (query['sendInitialEvents'] === true && !this.watchList) throw new ApiRefusal(path, 422, {});
    const stream = new Stream(signal);
    this.streams.push(stream);
    return stream;
  }

  get stream(): Stream {
    return this.streams.at(-1)!;
  }
}

function describeQuery(query: Query = {}): string {
  const shown = ['limit', 'continue', 'resourceVersion', 'sendInitialEvents', 'fieldSelector'];
  return shown.flatMap((name) => (query[name] === undefined ? [] : [` ${name}=${query[name]}`])).join('');
}

/** A watch that the test feeds. */
class Stream implements AsyncIterable<readonly WatchMessage[]> {
  readonly #queue: (readonly WatchMessage[] | Error | undefined)[] = [];
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    signal.addEventListener('abort', () => this.#push(undefined));
  }

  send(...messages: WatchMessage[]): void {
    this.#push(messages);
  }

  end(error?: Error): void {
    this.#push(error);
  }

  #push(item: readonly WatchMessage[] | Error | undefined): void {
    this.#queue.push(item);
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#queue.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
      const item = this.#queue.shift();
      if (item instanceof Error) throw item;
      if (item === undefined) return;
      yield item;
    }
  }
}

const node = (name: string, version: number) => ({
  metadata: { name, resourceVersion: String(version), labels: { v: String(version) } },
});
const page = (version: number, ...items: object[]) => ({ metadata: { resourceVersion: String(version) }, items });
const added = (object: JsonObject): WatchMessage => ({ type: 'ADDED', object });
const bookmark = (version: number, annotations = {}): WatchMessage => ({
  type: 'BOOKMARK',
  object: { metadata: { resourceVersion: String(version), annotations } },
});

function follow(server: ScriptedServer, kind: 'Node' | 'CiliumCIDRGroup' | 'ClusterNetworkPolicy' = 'Node') {
  const clock = new ManualClock();
  const state = new Map<string, string>();
  const phases: string[] = [];
  const errors: unknown[] = [];
  const stop = new AbortController();
  const reflector = new Reflector({
    ...{ kind, server, clock, random: () => 0 },
    onEvent: (event) => {
      assert.ok(event.type !== 'synced');
      const { name, object } = event.resource;
      if (event.type === 'delete') state.delete(name);
      else state.set(name, (object['metadata'] as { labels: { v: string } }).labels.v);
    },
    onState: (next: ReflectorState) => {
      phases.push(next.phase);
      if (next.phase === 'failing') errors.push(next.error);
    },
  });
  const running = reflector.run(stop.signal);
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await nextTurn();
  };
  const end = async () => {
    stop.abort();
    await running;
  };
  return { clock, state, phases, errors, reflector, settle, end };
}

describe('a reflector', () => {
  test('lists in pages and watches from the version of the list', async () => {
    const server = new ScriptedServer();
    server.answers.push({ ...page(5, node('a', 1)), metadata: { resourceVersion: '5', continue: 'more' } });
    server.answers.push(page(5, node('b', 2)));
    const { state, settle, end, reflector, phases } = follow(server);
    await reflector.synced;
    await settle();
    assert.deepEqual(
      [...state],
      [
        ['a', '1'],
        ['b', '2'],
      ],
    );
    server.stream.send(added(node('c', 6)), bookmark(9));
    await settle();
    assert.equal(state.get('c'), '6');
    server.stream.end();
    await settle();
    assert.deepEqual(server.calls, [
      'WATCH /api/v1/nodes sendInitialEvents=true',
      'GET /api/v1/nodes limit=500',
      'GET /api/v1/nodes limit=500 continue=more',
      'WATCH /api/v1/nodes resourceVersion=5',
      'WATCH /api/v1/nodes resourceVersion=9',
    ]);
    assert.deepEqual(phases, ['listing', 'watching', 'watching']);
    await end();
  });

  test('takes a list from the watch where the server does that, and goes on with the same watch', async () => {
    const server = new ScriptedServer();
    server.watchList = true;
    const { state, settle, end, reflector } = follow(server);
    await settle();
    server.stream.send(added(node('a', 1)), bookmark(5, { 'k8s.io/initial-events-end': 'true' }), added(node('b', 6)));
    await reflector.synced;
    await settle();
    assert.deepEqual([...state.keys()], ['a', 'b']);
    server.stream.end();
    await settle();
    assert.deepEqual(server.calls.slice(1), ['WATCH /api/v1/nodes resourceVersion=6']);
    await end();
  });

  test('what goes while the watch still tells what exists is gone', async () => {
    const server = new ScriptedServer();
    server.watchList = true;
    const { state, settle, end, reflector, phases } = follow(server);
    await settle();
    server.stream.send(added(node('a', 1)), added(node('b', 2)), { type: 'DELETED', object: node('a', 6) });
    server.stream.send(
      { type: 'MODIFIED', object: node('b', 7) },
      bookmark(7, { 'k8s.io/initial-events-end': 'true' }),
    );
    await reflector.synced;
    assert.deepEqual([...state], [['b', '7']]);
    assert.equal(server.streams.length, 1);
    assert.ok(!phases.includes('failing'));
    await end();
  });

  test('a server that never says that it has told all is asked for pages', async () => {
    for (const silent of [true, false]) {
      const server = new ScriptedServer();
      server.watchList = true;
      server.answers.push(page(5, node('a', 1)));
      const { clock, state, settle, end, reflector } = follow(server);
      await settle();
      server.stream.send(added(node('a', 1)));
      await settle();
      if (silent) await clock.advance(40_000);
      else server.stream.end();
      await settle();
      await clock.advance(200);
      await reflector.synced;
      await settle();
      assert.deepEqual([...state], [['a', '1']]);
      assert.deepEqual(server.calls.slice(1), ['GET /api/v1/nodes limit=500', 'WATCH /api/v1/nodes resourceVersion=5']);
      await end();
    }
  });

  test('a version that is not served any more, and a storage that was set back, mean a list', async () => {
    const refusals = [
      new ApiRefusal('GET', 404, { message: 'the server could not find the requested resource' }),
      new ApiRefusal('GET', 504, { message: 'Too large resource version: 5, current: 3' }),
    ];
    for (const refusal of refusals) {
      const server = new ScriptedServer();
      server.answers.push(page(5, node('a', 5)));
      const { clock, state, settle, end } = follow(server);
      await settle();
      server.stream.end(refusal);
      server.answers.push(page(3, node('b', 2)));
      await settle();
      await clock.advance(200);
      await settle();
      assert.deepEqual([...state], [['b', '2']]);
      assert.equal(server.calls.at(-1), 'WATCH /api/v1/nodes resourceVersion=3');
      await end();
    }
  });

  test('a version that is gone means a list, at once, and nothing that went meanwhile stays', async () => {
    const server = new ScriptedServer();
    server.answers.push(page(5, node('a', 1), node('b', 2)));
    const { state, settle, end, phases } = follow(server);
    await settle();
    server.answers.push(page(50, node('b', 40)));
    server.stream.send({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
    await settle();
    assert.deepEqual([...state], [['b', '40']]);
    assert.equal(server.calls.at(-1), 'WATCH /api/v1/nodes resourceVersion=50');
    assert.ok(!phases.includes('failing'));
    await end();
  });

  test('a server that goes away is tried again, later each time, from where the watch was', async () => {
    const server = new ScriptedServer();
    server.answers.push(page(5, node('a', 1)));
    const { clock, state, settle, end, phases } = follow(server);
    await settle();
    const watch = server.watch.bind(server);
    let refused = 0;
    server.watch = () => {
      refused++;
      throw new WeirError('KUBERNETES_UNREACHABLE', 'connection refused');
    };
    server.stream.end(new WeirError('KUBERNETES_UNREACHABLE', 'reset'));
    await settle();
    assert.equal(phases.at(-1), 'failing');
    for (const ms of [199, 1]) await clock.advance(ms);
    await settle();
    assert.equal(refused, 1);
    await clock.advance(399);
    assert.equal(refused, 1);
    await clock.advance(1);
    await settle();
    assert.equal(refused, 2);
    server.watch = watch;
    await clock.advance(60_000);
    await settle();
    assert.equal(server.calls.at(-1), 'WATCH /api/v1/nodes resourceVersion=5');
    assert.equal(phases.at(-1), 'watching');
    assert.deepEqual([...state.keys()], ['a'], 'nothing is deleted for want of a server');
    await end();
  });

  test('leaves a server alone for as long as it asks', async () => {
    const server = new ScriptedServer();
    server.answers.push(new ApiRefusal('GET', 429, {}, 7000), page(5, node('a', 1)));
    const { clock, state, settle, end } = follow(server);
    await settle();
    await clock.advance(7000);
    assert.equal(state.size, 0);
    await clock.advance(200);
    await settle();
    assert.equal(state.size, 1);
    await end();
  });

  test('a silent watch is given up', async () => {
    const server = new ScriptedServer();
    server.answers.push(page(5, node('a', 1)));
    const { clock, settle, end, phases } = follow(server);
    await settle();
    await clock.advance(300_000 + 61_000);
    await settle();
    assert.ok(phases.includes('failing'));
    assert.equal(server.streams.length, 2);
    await end();
  });

  test('a watch that used to say how far it is, and is silent, is given up sooner', async () => {
    const server = new ScriptedServer();
    server.answers.push(page(5, node('a', 1)));
    const { clock, settle, end, phases } = follow(server);
    await settle();
    // That all has been told is no promise of more.
    server.stream.send(bookmark(6, { 'k8s.io/initial-events-end': 'true' }));
    await settle();
    await clock.advance(200_000);
    assert.equal(server.streams.length, 1);
    server.stream.send(bookmark(7));
    await settle();
    await clock.advance(180_000);
    assert.equal(server.streams.length, 1);
    await clock.advance(10_000);
    await settle();
    assert.equal(server.calls.at(-1), 'WATCH /api/v1/nodes resourceVersion=7');
    assert.equal(server.streams.length, 2);
    assert.ok(!phases.includes('failing'), 'the server may be well');
    await end();
  });

  test('a kind that is not defined is absent, and found once it is', async () => {
    const server = new ScriptedServer();
    const missing = new ApiRefusal('GET', 404, {});
    server.answers.push(missing, missing, missing);
    server.watch = (path) => {
      server.calls.push(`WATCH ${path}`);
      throw missing;
    };
    const { clock, settle, end, phases, reflector } = follow(server, 'CiliumCIDRGroup');
    await reflector.synced;
    await settle();
    assert.deepEqual(server.calls, [
      'WATCH /apis/cilium.io/v2/ciliumcidrgroups',
      'WATCH /apis/cilium.io/v2alpha1/ciliumcidrgroups',
      'GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/ciliumcidrgroups.cilium.io',
    ]);
    assert.equal(phases.at(-1), 'absent');
    server.calls.length = 0;
    await clock.advance(200);
    await settle();
    assert.equal(server.calls[0], 'WATCH /apis/cilium.io/v2/ciliumcidrgroups');
    await end();
  });

  test('a kind that most clusters never define is looked for rarely, once it has been away for long', async () => {
    const server = new ScriptedServer();
    const missing = new ApiRefusal('GET', 404, {});
    server.watch = () => {
      throw missing;
    };
    server.answers.push(missing);
    const { clock, settle, end } = follow(server, 'ClusterNetworkPolicy');
    await settle();
    const look = async (ms: number): Promise<number> => {
      server.answers.push(missing);
      await clock.advance(ms);
      await settle();
      return server.calls.length;
    };
    for (let ms = 200; ms < 120_000; ms *= 2) await look(ms);
    const before = server.calls.length;
    assert.equal(await look(119_999), before);
    assert.equal(await look(1), before + 1);
    await end();
  });

  test('a kind that is defined but not served yet is waited for: it does not count as empty', async () => {
    const server = new ScriptedServer();
    const missing = new ApiRefusal('GET', 404, {});
    server.watch = () => {
      throw missing;
    };
    server.answers.push({ kind: 'CustomResourceDefinition' });
    const { settle, end, phases, reflector } = follow(server, 'CiliumCIDRGroup');
    let synced = false;
    void reflector.synced.then(() => (synced = true));
    await settle();
    assert.equal(phases.at(-1), 'failing');
    assert.equal(synced, false);
    await end();
  });

  test('a kind of which only unknown versions are served says so', async () => {
    const server = new ScriptedServer();
    server.watch = () => {
      throw new ApiRefusal('GET', 404, {});
    };
    server.answers.push({
      spec: {
        versions: [
          { name: 'v3', served: true },
          { name: 'v2', served: false },
        ],
      },
    });
    const { settle, end, errors } = follow(server, 'CiliumCIDRGroup');
    await settle();
    assert.match(errorText(errors.at(-1)), /is served as v3 only, and Weir reads v2, v2alpha1/);
    await end();
  });
});
