import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { WeirError } from '../model/errors.ts';
import { ManualClock } from '../model/manual-clock.ts';
import { resourceName } from '../model/resource.ts';
import { DEFAULT_DECODE_OPTIONS } from '../policy/api/index.ts';
import type { Rule } from '../policy/rule.ts';
import { PolicyTrial } from './policy-trial.ts';

const NODES = 'CiliumClusterwideNetworkPolicy nodes';
const manifest = (name: string, spec = '{nodeSelector: {}, ingress: [{fromEntities: [cluster]}]}'): string =>
  `apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: ${name}}\nspec: ${spec}\n`;

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;

describe('policies on trial', () => {
  const before: readonly Rule[] = [];
  let clock: ManualClock;
  let trial: PolicyTrial;
  let inForce: Map<string, readonly Rule[] | undefined>;

  beforeEach(() => {
    clock = new ManualClock();
    inForce = new Map([[NODES, before]]);
    trial = new PolicyTrial({ clock, decode: DEFAULT_DECODE_OPTIONS, log: () => undefined });
    trial.join({
      inForce: (name) => inForce.get(name),
      put: (resource, rules) => void inForce.set(resourceName(resource), rules),
      settled: () => Promise.resolve(),
    });
  });

  test('come into force, and what was before comes back when nobody confirms', async () => {
    const begun = await trial.begin({ manifest: `${manifest('nodes')}---\n${manifest('more')}`, seconds: 60 });
    assert.deepEqual(begun.policies, [NODES, 'CiliumClusterwideNetworkPolicy more']);
    assert.equal(begun['expires-at'], new Date(clock.now() + 60_000).toISOString());
    assert.equal(inForce.get(NODES)!.length, 1);
    await clock.advance(59_999);
    assert.equal(inForce.get(NODES)!.length, 1);
    await clock.advance(1);
    assert.equal(inForce.get(NODES), before);
    assert.equal(inForce.get('CiliumClusterwideNetworkPolicy more'), undefined);
    assert.deepEqual(trial.status(), { policies: [] });
  });

  test('stay when somebody confirms, and go when somebody takes them back', async () => {
    await trial.begin({ manifest: manifest('nodes'), seconds: 60 });
    assert.deepEqual(trial.confirm(), { policies: [NODES] });
    await clock.advance(120_000);
    assert.equal(inForce.get(NODES)!.length, 1);
    assert.throws(() => trial.confirm(), isCode('TRIAL_NOT_FOUND'));
    await trial.begin({ manifest: manifest('more'), seconds: 60 });
    await trial.revert();
    assert.equal(inForce.get('CiliumClusterwideNetworkPolicy more'), undefined);
    await assert.rejects(trial.revert(), isCode('TRIAL_NOT_FOUND'));
  });

  test('give way to what their source says', async () => {
    await trial.begin({ manifest: `${manifest('nodes')}---\n${manifest('more')}`, seconds: 60 });
    const newer: readonly Rule[] = [];
    trial.sourceSpoke(NODES);
    inForce.set(NODES, newer);
    await clock.advance(60_000);
    assert.equal(inForce.get(NODES), newer);
    assert.equal(inForce.get('CiliumClusterwideNetworkPolicy more'), undefined);
  });

  test('are refused as a whole when one of them is wrong, or others are on trial', async () => {
    const wrong = manifest('more', '{nodeSelector: {}, ingress: [{fromEntities: [nobody]}]}');
    for (const [text, code] of [
      [`${manifest('nodes')}---\n${wrong}`, 'POLICY_INVALID'],
      ['apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n', 'REQUEST_INVALID'],
      ['a: [', 'REQUEST_INVALID'],
      ['', 'REQUEST_INVALID'],
    ] as const) {
      await assert.rejects(trial.begin({ manifest: text, seconds: 60 }), isCode(code), text);
      assert.equal(inForce.get(NODES), before);
      assert.deepEqual(trial.status(), { policies: [] });
    }
    await trial.begin({ manifest: manifest('nodes'), seconds: 60 });
    await assert.rejects(trial.begin({ manifest: manifest('more'), seconds: 60 }), isCode('TRIAL_RUNNING'));
  });
});
