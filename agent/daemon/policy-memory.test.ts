import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { resourceName, type Resource } from '../model/resource.ts';
import { PolicyMemory } from './policy-memory.ts';

const policy = (name: string, version: string, uid = `uid of ${name}`): Resource => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'default', name, uid },
  object: { spec: { description: version } },
});

describe('memory of policies', () => {
  let root: string;
  let directory: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'weir-policy-memory-'));
    directory = join(root, 'policies');
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const open = (): PolicyMemory =>
    new PolicyMemory({ directory, onError: (message, error) => assert.fail(`${message}: ${String(error)}`) });

  test('the next run knows the last accepted version of what still exists', async () => {
    const first = open();
    for (const resource of [policy('kept', '1'), policy('kept', '2'), policy('gone', '1'), policy('away', '1')])
      first.remember(resource);
    assert.deepEqual(first.recall(policy('kept', 'wrong')), policy('kept', '2').object, 'also before it is on disk');
    first.begin();
    first.forget(resourceName(policy('gone', '1')));
    await first.settled();
    assert.equal(readdirSync(directory).length, 2);

    const second = open();
    assert.deepEqual(second.recall(policy('kept', 'wrong')), policy('kept', '2').object);
    assert.equal(second.recall(policy('kept', 'wrong', 'another uid')), undefined, 'another object of that name');
    assert.equal(second.recall(policy('gone', 'wrong')), undefined);
    // Wrong by now, but there; the other was deleted while nobody looked.
    second.keep(resourceName(policy('kept', 'wrong')));
    second.begin();
    await second.settled();
    assert.equal(readdirSync(directory).length, 1);
    assert.deepEqual(open().recall(policy('kept', 'wrong')), policy('kept', '2').object);
  });

  test('an object that is deleted and made anew, wrong, has no version before', () => {
    const memory = open();
    memory.remember(policy('p', '1', ''));
    memory.forget(resourceName(policy('p', '1', '')));
    assert.equal(memory.recall(policy('p', 'wrong', '')), undefined);
  });
});
