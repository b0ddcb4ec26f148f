import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Registry } from 'prom-client';
import type { KvstoreState } from '../kvstore/kvstore.ts';
import { WeirError } from '../model/errors.ts';
import { KvstoreMetrics } from './kvstore-metrics.ts';
import { statusOf } from './open-kvstore.ts';

describe('a key-value store', () => {
  const well: KvstoreState = {
    ...{ endpoint: 'http://e:2379', lease: '7587', heartbeat: '2026-11-23T10:00:00Z', waiting: [] },
    ...{ error: undefined, since: undefined, failed: 0 },
  };
  const error = new WeirError('KVSTORE_UNREACHABLE', 'refused', { object: 'etcd http://e:2379' });

  test('says how it stands', () => {
    const cases: [Partial<KvstoreState>, string, RegExp][] = [
      [{}, 'Ok', /lease 7587, operator heard at 2026-11-23T10:00:00Z$/],
      [{ heartbeat: undefined }, 'Ok', /no operator writes there$/],
      [{ waiting: ['nodes'], error }, 'Failure', /waiting for nodes: .*refused/],
      [
        { since: 0, error },
        'Warning',
        /cut off since 1970-01-01T00:00:00.000Z, what was known stays enforced: .*refused/,
      ],
      [{ failed: 3 }, 'Warning', /3 keys of this node cannot be written/],
    ];
    for (const [state, outcome, message] of cases) {
      const status = statusOf({ ...well, ...state });
      assert.equal(status.state, outcome);
      assert.match(status.msg ?? '', message);
    }
  });

  test('is counted under Cilium’s names', async () => {
    const registry = new Registry();
    const metrics = new KvstoreMetrics();
    metrics.register(registry, () => 4);
    const key = 'cilium/state/identities/v1/id/256';
    metrics.operation({ action: 'set', kind: 'txn', key, milliseconds: 3, failed: false });
    metrics.operation({ action: 'read', kind: 'range', key: 'cilium/.heartbeat', milliseconds: 3, failed: true });
    metrics.quorumError(error);
    const text = await registry.metrics();
    const labels = 'scope="identities/v1",kind="txn",action="set",outcome="success"';
    assert.ok(text.includes(`cilium_kvstore_operations_duration_seconds_count{${labels}} 1`), text);
    assert.match(text, /scope="cilium\/\.hear",kind="range",action="read",outcome="fail"/);
    assert.match(text, /cilium_kvstore_quorum_errors_total\{error="KVSTORE_UNREACHABLE"\} 1/);
    assert.match(text, /cilium_kvstore_sync_queue_size 4/);
  });
});
