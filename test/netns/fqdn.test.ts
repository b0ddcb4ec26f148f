/** Names end to end: a pod asks, the agent learns, the pod connects at once. The proxy is a worker of the agent. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { runAsync, tryRun } from '../harness/exec.ts';
import type { NameClientResult, NameClientTask } from '../harness/name-client.ts';
import { WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { SILENCE_MS, waitFor } from '../harness/wait.ts';

/** Addresses of the world that no policy speaks of: pods may use them by their names only. */
const named = {
  4: (i: number) => `198.18.${i >> 8}.${i & 0xff}`,
  6: (i: number) => `2001:db8:5::${i.toString(16)}`,
} as const;
const FRESH = 1000;
const ZONE = 'cilium.io.';
const PORT = 8080;

const POLICY = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: names, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toCIDRSet: [{ cidr: ${WORLD_ADDRESSES.v4}/32 }, { cidr: ${WORLD_ADDRESSES.v6}/128 }]
      toPorts:
        - ports: [{ port: "53", protocol: ANY }]
          rules:
            dns: [{ matchPattern: "*.cilium.io" }]
    - toFQDNs: [{ matchPattern: "*.cilium.io" }]
      toPorts:
        - ports: [{ port: "${PORT}", protocol: TCP }]
`;

const stack = new AsyncDisposableStack();
let node: WeirNode;
let client: Pod;

before(async () => {
  node = stack.use(new WeirNode({ name: 'fqdn' }));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  node.manifest('policy.yaml', POLICY);
  const { world } = node;
  world.ip('route add local 198.18.0.0/16 dev lo');
  world.ip('-6 route add local 2001:db8:5::/112 dev lo');
  node.ns.ip(`route add 198.18.0.0/16 via ${WORLD_ADDRESSES.v4}`);
  node.ns.ip(`-6 route add 2001:db8:5::/112 via ${WORLD_ADDRESSES.v6}`);
  const numbers = Array.from({ length: FRESH + 1 }, (_, i) => i + 1);
  const records = numbers.flatMap((i) => [`n${i}.${ZONE} 60 A ${named[4](i)}`, `n${i}.${ZONE} 60 AAAA ${named[6](i)}`]);
  const addresses = Object.values(WORLD_ADDRESSES);
  stack.use(await DnsServerProcess.start(world, { kind: 'unbound', zone: ZONE, records, addresses }));
  const server = stack.use(await Actor.start(world));
  await server.do({ op: 'serve', port: PORT });
  // The order is what is tried here, on machines of any speed: no answer may run out of patience.
  await node.startAgent(['--tofqdns-proxy-response-max-delay', '10s']);
  client = stack.use(await Pod.create(node, 'client'));
  await waitFor('the first answer', () => dig(WORLD_ADDRESSES.v4, '+short', `n${FRESH + 1}.${ZONE}`) !== '');
});
after(() => stack.disposeAsync());

function dig(server: string, ...words: string[]): string {
  return tryRun([...client.ns.enter, 'dig', `@${server}`, '+time=5', '+tries=6', ...words]).stdout;
}

async function use(task: NameClientTask): Promise<NameClientResult> {
  const program = path.join(import.meta.dirname, '../harness/name-client.ts');
  const { stdout, stderr } = await runAsync([...client.ns.enter, process.execPath, program, JSON.stringify(task)]);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as NameClientResult;
}

describe('a name that the policy allows', () => {
  let next = 1;
  for (const transport of ['udp', 'tcp'] as const) {
    for (const family of [4, 6] as const) {
      test(`connects on the first try, every time: asked over ${transport}, IPv${family}`, async () => {
        const names = Array.from({ length: FRESH / 4 }, () => `n${next++}.${ZONE}`);
        const server = family === 4 ? WORLD_ADDRESSES.v4 : WORLD_ADDRESSES.v6;
        const { ok, failures } = await use({ server, transport, family, port: PORT, names });
        assert.deepEqual(failures.slice(0, 5), []);
        assert.equal(ok, FRESH / 4);
      });
    }
  }

  test('costs one identity a family, however many addresses', async () => {
    const { stdout } = await node.weir('identity', 'list', '-o', 'json');
    const identities = JSON.parse(stdout) as readonly { readonly labels: readonly string[] }[];
    assert.equal(identities.filter(({ labels }) => labels.some((label) => label.startsWith('fqdn:'))).length, 2);
  });
});

test('other names are refused, and an address that nobody learned is dropped with its reason', async () => {
  assert.match(dig(WORLD_ADDRESSES.v4, 'www.example.com'), /status: REFUSED/);
  assert.match(dig(WORLD_ADDRESSES.v6, '+tcp', 'cilium.io'), /status: REFUSED/);
  const dropped = async (): Promise<number> => {
    const { stdout } = await node.weir('bpf', 'metrics', 'list', '-o', 'json');
    return Number(/"Policy denied"[^}]*?"packets":\s*"?(\d+)/i.exec(stdout)?.[1] ?? 0);
  };
  const before = await dropped();
  assert.equal(
    await client.actor.do({ op: 'tcp', host: '198.18.200.1', port: PORT, timeoutMs: SILENCE_MS }),
    'timeout',
  );
  await waitFor('the drop', async () => (await dropped()) > before);
});
