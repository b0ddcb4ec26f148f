import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAP_TYPE } from './bpf-syscall.ts';
import { type KernelProbe, probeFeatures, requireFeatures, runningKernel } from './features.ts';

test('the kernel that runs the tests has all that is required', () => {
  const features = probeFeatures();
  assert.deepEqual(features.filter(({ available }) => !available), []); // prettier-ignore
  requireFeatures(features);
});

test('the probes tell presence from absence on this kernel', () => {
  assert.equal(runningKernel.helper(99_999), false);
  assert.equal(runningKernel.mapType(200 as typeof MAP_TYPE.HASH), false);
  assert.equal(runningKernel.fileSystem('nosuchfs'), false);
});

test('what is missing is named with its purpose, all of it at once', () => {
  const old: KernelProbe = {
    ...runningKernel,
    tcx: () => false,
    helper: (number) => number !== 155,
    mapType: (type) => {
      if (type === MAP_TYPE.RINGBUF) throw new Error('EPERM');
      return true;
    },
  };
  assert.throws(
    () => requireFeatures(probeFeatures(old)),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'KERNEL_UNSUPPORTED');
      assert.match(error.message, /^Linux \S+ lacks TCX links, for programs on pod interfaces \(Linux 6\.6\); /);
      assert.match(error.message, /; ring buffer maps, for [^;]*: EPERM; bpf_redirect_peer, for /);
      assert.doesNotMatch(error.message, /LPM/);
      return true;
    },
  );
});
