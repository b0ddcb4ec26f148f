/** Limits of pods, from a manifest to what the API says of an endpoint. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentBench, POD, until } from './testing.ts';

const LIMITED = POD('web').replace(
  'labels:',
  'annotations: {kubernetes.io/egress-bandwidth: 10M, kubernetes.io/ingress-bandwidth: 1.6k}, labels:',
);

for (const [flags, expected] of [
  [
    ['--enable-bandwidth-manager'],
    {
      ingress: { 'bits-per-second': 1600, 'burst-bytes': 50 },
      egress: { 'bits-per-second': 10_000_000, 'burst-bytes': 312_500 },
    },
  ],
  [[], undefined],
] as const) {
  test(`annotations of a pod, ${flags.length === 0 ? 'without the bandwidth manager' : flags.join(' ')}`, async () => {
    await using bench = new AgentBench();
    bench.manifest('web.yaml', LIMITED);
    await bench.start({}, ...flags);
    const { id } = await bench.add('web');
    const shown = async (): Promise<unknown> => (await bench.api.endpoint(String(id))).status?.bandwidth;
    assert.deepEqual(await shown(), expected);
    bench.manifest('web.yaml', POD('web').replace('app: web', 'app: other'));
    await until('the change', async () => {
      const labels = (await bench.api.endpoint(String(id))).status?.labels?.['security-relevant'] ?? [];
      return labels.includes('k8s:app=other') && (await shown()) === undefined;
    });
  });
}
