/**
 * Every pair of pod, remote pod, host, remote host, world, service and node port, by every protocol and family, tunnelled and
 * routed, under every kind of policy: what has to happen against what happens. Every drop must be explained by an event.
 *
 * `npm run test:matrix` tries every way; `npm test` a few of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster } from '../../harness/cluster.ts';
import { waitFor } from '../../harness/wait.ts';
import { Drops } from './drops.ts';
import { setScene } from './places.ts';
import { POLICIES, type MatrixPolicy } from './policies.ts';
import { printMatrix } from './print.ts';
import { attempt, inParallel, type Outcome, type Way } from './trial.ts';

const MODES = [
  { name: 'tunnel', flags: ['--routing-mode', 'tunnel'] },
  { name: 'native', flags: ['--routing-mode', 'native', '--auto-direct-node-routes'] },
] as const;

const ALL_WAYS: readonly Way[] = ([4, 6] as const).flatMap((family) =>
  (['tcp', 'udp', 'icmp'] as const).map((protocol) => ({ protocol, family })),
);

const full = process.env['WEIR_MATRIX'] === 'full';
/** Each protocol and each family once. */
const WAYS = full ? ALL_WAYS : ALL_WAYS.filter(({ protocol, family }) => (family === 4) === (protocol !== 'udp'));

/** Attempts at a time: enough to be quick, and few enough for a small machine. */
const AT_ONCE = 12;

for (const { name, flags } of MODES) {
  test(`the matrix, ${name}`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(await Cluster.start({ flags, socketLb: true }));
    const scene = await setScene(cluster, stack);
    await cluster.publish();
    await using drops = new Drops(cluster);
    const tries = scene.pairs.flatMap((pair) =>
      WAYS.filter(({ protocol }) => pair.target.protocols.includes(protocol)).map((way) => ({ pair, way })),
    );
    const outcomes: Outcome[] = [];
    for (const policy of POLICIES) {
      await t.test(policy.name, async () => {
        await enforce(cluster, policy);
        drops.forget();
        const seen = await inParallel(tries, AT_ONCE, ({ pair, way }) => attempt(pair, way, policy, drops));
        outcomes.push(...seen);
        const faults = seen.filter(({ fault }) => fault !== '').map(faultText);
        assert.deepEqual(faults, []);
      });
    }
    t.diagnostic(`\n${printMatrix(name, WAYS, outcomes)}`);
    assert.equal(drops.lost, 0, 'events were lost');
  });
}

function faultText({ pair, way, expected, fault }: Outcome): string {
  return `${pair.name}, ${way.protocol} over IPv${way.family}: expected ${expected}, ${fault}`;
}

/** Puts a policy, or none, in force on every node. */
async function enforce(cluster: Cluster, policy: MatrixPolicy): Promise<void> {
  await settle(cluster, '', 'none');
  if (policy.manifest !== '') await settle(cluster, policy.manifest, 'both');
}

async function settle(cluster: Cluster, manifest: string, enabled: 'none' | 'both'): Promise<void> {
  cluster.manifest('policy.json', manifest);
  await waitFor(
    'every pod to be under the policy',
    async () => {
      const endpoints = (await Promise.all(cluster.members.map(async ({ api }) => await api.endpoints()))).flat();
      return endpoints.every(
        ({ status }) => status?.state === 'ready' && status.policy?.realized?.['policy-enabled'] === enabled,
      );
    },
    30_000,
  );
}
