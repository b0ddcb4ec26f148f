import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { findCgroupRoot } from '../kernel/cgroup.ts';
import { socketCgroup } from './socket-cgroup.ts';

test('which sockets are translated', () => {
  const found = findCgroupRoot();
  assert.ok(found !== undefined, 'cgroup v2 is mounted');
  assert.equal(socketCgroup({ mode: 'false', cgroupRoot: found }), undefined);
  assert.equal(socketCgroup({ mode: 'auto', cgroupRoot: found }), found);
  assert.equal(socketCgroup({ mode: 'true', cgroupRoot: undefined }), found);
  for (const cgroupRoot of [tmpdir(), '/nowhere']) {
    assert.throws(() => socketCgroup({ mode: 'auto', cgroupRoot }), { code: 'CONFIG_INVALID', field: '--cgroup-root' });
  }
});
