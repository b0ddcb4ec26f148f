import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '../agent/model/address.ts';
import type { LearnedAnswer } from './contract.ts';
import { Counters } from './counters.ts';
import { Lessons, type LessonOrigin } from './lessons.ts';
import type { Lesson } from './message/addresses.ts';

const ORIGIN: LessonOrigin = { endpoint: 7, server: parseAddress('192.0.2.53'), port: 53 };

function lesson(addresses: readonly string[], ttl = 60, name = 'www.cilium.io.'): Lesson {
  return { name, ttl, aliases: [], addresses: addresses.map(parseAddress) };
}

/** Lessons with time and an agent of the test's own. */
class Bench {
  now = 1_000_000;
  readonly sent: LearnedAnswer[] = [];
  readonly released: string[] = [];
  readonly granted: string[] = [];
  readonly counters = new Counters();
  readonly lessons = new Lessons({
    ...{ counters: this.counters, now: () => this.now, maxDelayMs: () => 100 },
    onWaiting: () => undefined,
    grant: (name, address) => this.granted.push(`${name} ${address.bytes.join('.')}`),
  });

  connect(): this {
    this.lessons.connect((answers) => this.sent.push(...answers));
    return this;
  }

  /** Whether the answer may go out at once; if not, `label` is released later. */
  learn(what: Lesson, label = 'answer'): boolean {
    const at = this.lessons.learn(what, ORIGIN, () => this.released.push(label));
    this.lessons.flush();
    return at;
  }

  acknowledge(): void {
    this.lessons.acknowledged(
      this.sent.map(({ id }) => id),
      {},
    );
  }
}

describe('an answer', () => {
  test('with something new waits until the agent is done, one without does not', () => {
    const bench = new Bench().connect();
    assert.equal(bench.learn(lesson(['10.0.0.1'])), false);
    assert.deepEqual(
      bench.sent.map(({ name, addresses, ttl, waiting, server }) => ({ name, addresses, ttl, waiting, server })),
      [{ name: 'www.cilium.io.', addresses: ['10.0.0.1'], ttl: 60, waiting: true, server: '192.0.2.53' }],
    );
    assert.deepEqual(bench.released, []);
    bench.acknowledge();
    assert.deepEqual(bench.released, ['answer']);
    assert.equal(bench.learn(lesson(['10.0.0.1'])), true);
    assert.equal(bench.sent.length, 1, 'nothing to say');
    assert.equal(bench.learn(lesson(['10.0.0.1', '10.0.0.2'])), false, 'one address is new');
    assert.equal(bench.learn(lesson(['10.0.0.1'], 60, 'other.cilium.io.')), false, 'known of another name only');
  });

  test('whose addresses are known for less long is said, and does not wait', () => {
    const bench = new Bench().connect();
    bench.learn(lesson(['10.0.0.1'], 30));
    bench.acknowledge();
    bench.now += 500;
    assert.equal(bench.learn(lesson(['10.0.0.1'], 30)), true, 'half a second is nothing');
    assert.equal(bench.sent.length, 1);
    bench.now += 20_000;
    assert.equal(bench.learn(lesson(['10.0.0.1'], 30)), true);
    assert.deepEqual(
      bench.sent.map(({ waiting }) => waiting),
      [true, false],
    );
    bench.now += 31_000;
    assert.equal(bench.learn(lesson(['10.0.0.1'], 30)), false, 'its time is over: the agent may have closed it');
  });

  test('goes out at its deadline; what the agent does after that still counts', () => {
    const bench = new Bench().connect();
    bench.learn(lesson(['10.0.0.1']));
    bench.now += 99;
    bench.lessons.releaseLate();
    assert.deepEqual(bench.released, []);
    bench.now += 1;
    bench.lessons.releaseLate();
    bench.lessons.releaseLate();
    assert.deepEqual(bench.released, ['answer']);
    assert.equal(bench.counters.snapshot().deadlinesMissed, 1);
    bench.acknowledge();
    assert.deepEqual(bench.released, ['answer'], 'once');
    assert.equal(bench.learn(lesson(['10.0.0.1'])), true);
    assert.equal(bench.lessons.waiting, false);
  });

  test('that the agent never speaks of is not kept for ever', () => {
    const bench = new Bench().connect();
    bench.learn(lesson(['10.0.0.1']));
    bench.now += 31_000;
    bench.lessons.releaseLate();
    assert.deepEqual([bench.released, bench.lessons.waiting], [['answer'], false]);
  });

  test('that was forgotten waits again', () => {
    const bench = new Bench().connect();
    bench.learn(lesson(['10.0.0.1']));
    bench.acknowledge();
    bench.lessons.forget(8);
    assert.equal(bench.learn(lesson(['10.0.0.1'])), true);
    bench.lessons.forget(7);
    assert.equal(bench.learn(lesson(['10.0.0.1'])), false);
  });
});

describe('while the agent is away', () => {
  test('nothing waits, addresses are granted, and all is said when it is back', () => {
    const bench = new Bench();
    assert.equal(bench.learn(lesson(['10.0.0.1'], 60)), true);
    assert.deepEqual(bench.granted, ['www.cilium.io. 10.0.0.1']);
    bench.now += 90_000;
    bench.lessons.prune();
    const [answer] = bench.lessons.backlog();
    assert.deepEqual(
      [answer?.addresses, answer?.ttl, answer?.time, answer?.waiting],
      [['10.0.0.1'], 60, 1_000_000, false],
    );
    bench.connect();
    bench.lessons.prune();
    assert.deepEqual(bench.lessons.backlog(), [], 'once it was said, it may be forgotten');
  });

  test('what was waiting goes out', () => {
    const bench = new Bench().connect();
    bench.learn(lesson(['10.0.0.1']));
    bench.lessons.connect(undefined);
    assert.deepEqual(bench.released, ['answer']);
    assert.deepEqual(bench.granted, ['www.cilium.io. 10.0.0.1']);
    assert.equal(bench.lessons.waiting, false);
  });

  test('addresses of one name that end at different times are told apart', () => {
    const bench = new Bench();
    bench.learn(lesson(['10.0.0.1'], 60));
    bench.now += 10_000;
    bench.learn(lesson(['10.0.0.2'], 60));
    assert.deepEqual(
      bench.lessons.backlog().map(({ addresses, ttl }) => [addresses, ttl]),
      [
        [['10.0.0.1'], 50],
        [['10.0.0.2'], 60],
      ],
    );
  });
});

test('an endpoint that asks for names without end is not remembered without end', () => {
  const bench = new Bench().connect();
  for (let i = 0; i < 10_001; i++) bench.learn(lesson(['10.0.0.1'], 60, `n${i}.cilium.io.`));
  bench.acknowledge();
  assert.equal(bench.lessons.backlog().length, 10_000);
});
