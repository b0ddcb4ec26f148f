import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareAnswers } from './check.ts';
import type { L7Answer } from './scenario.ts';

const base = { dir: 'ingress', proto: 'TCP', port: 80, parser: 'http' } as const;

function differences(expected: readonly L7Answer[] | undefined, got: readonly L7Answer[]): number {
  const answer = (l7: readonly L7Answer[] | undefined) => ({
    policies: [],
    peers: [1, 2],
    subjects: [{ id: 1, ...(l7 !== undefined && { l7 }) }],
  });
  return compareAnswers('s', answer(expected), answer(got)).length;
}

test('layer 7 is compared by what it means for each peer', () => {
  const [get, put] = [{ method: 'GET' }, { path: '/', method: 'PUT' }];
  const want = [{ ...base, peers: [1, 2], http: [get, put] }];
  const regrouped = [
    { ...base, peers: [2], http: [{ method: 'PUT', path: '/' }, get, get] },
    { ...base, peers: [1], http: [get, put] },
    { ...base, peers: [], http: [{}] },
  ];
  assert.equal(differences(want, regrouped), 0);
  assert.equal(differences(want, [{ ...base, peers: [1], http: [get, put] }]), 1);
  assert.equal(differences(want, [{ ...base, peers: [1, 2], http: [get] }]), 4);
  assert.equal(differences(want, []), 2);
  assert.equal(differences([], want), 2);
  assert.equal(differences(undefined, want), 0);
});
