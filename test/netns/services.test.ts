/** Cluster addresses, from a pod to pods: per packet, with real sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const VIPS = ['10.96.0.10', 'fd00:96::10'] as const;
const PORTS = { service: 80, backend: 8080 } as const;

/** The service `web` and, for each family, a slice of its backends. */
function serviceManifest(backends: readonly Pod[]): string {
  const slice = (family: 4 | 6): string => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-${family}
  namespace: default
  labels: { kubernetes.io/service-name: web }
addressType: IPv${family}
ports: ${JSON.stringify(['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: PORTS.backend })))}
endpoints: ${JSON.stringify(
    backends.map((pod) => ({ addresses: [family === 4 ? pod.ipv4 : pod.ipv6], conditions: { ready: true } })),
  )}
`;
  return `apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec:
  clusterIPs: ${JSON.stringify(VIPS)}
  ipFamilyPolicy: PreferDualStack
  selector: { app: server }
  ports:
    - { name: tcp, protocol: TCP, port: ${PORTS.service}, targetPort: ${PORTS.backend} }
    - { name: udp, protocol: UDP, port: ${PORTS.service}, targetPort: ${PORTS.backend} }
${slice(4)}${slice(6)}`;
}

test('a cluster address leads to pods, under the policy of the pods', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'services' }));
  for (const name of ['server', 'client']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('other.yaml', podManifest('other', { app: 'server' }));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const other = stack.use(await Pod.create(node, 'other'));
  const client = stack.use(await Pod.create(node, 'client'));
  for (const pod of [server, other]) await pod.actor.do({ op: 'serve', port: PORTS.backend });
  const to = (host: string) => ({ host, port: PORTS.service, timeoutMs: ANSWER_MS }) as const;
  const reach = async (op: 'tcp' | 'udp', host: string): Promise<string> => await client.actor.do({ op, ...to(host) });
  const knock = async (op: 'tcp' | 'udp', host: string): Promise<string> =>
    await client.actor.do({ op, ...to(host), timeoutMs: SILENCE_MS });

  node.manifest('web.yaml', serviceManifest([server]));
  await waitFor('the service', async () => (await reach('tcp', VIPS[1])) === 'ok');

  await t.test('weir service list', async () => {
    const { stdout } = await node.weir('service', 'list');
    assert.match(stdout, /^\d+ +10\.96\.0\.10:80\/TCP +ClusterIP +1 => [\d.]+:8080\/TCP \(active\)$/m);
    const { stdout: json } = await node.weir('service', 'list', '-o', 'jsonpath={.items[*].spec.flags.name}');
    assert.equal(json.trim(), 'web web web web');
  });

  for (const vip of VIPS) {
    for (const op of ['tcp', 'udp'] as const) {
      await t.test(`${op} to ${vip}`, async () => {
        for (let i = 0; i < 5; i++) assert.equal(await reach(op, vip), 'ok');
      });
    }
  }

  await t.test('policy is that of the backend', async () => {
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await waitFor('the denial', async () => (await knock('tcp', VIPS[0])) === 'timeout');
    assert.equal(await knock('udp', VIPS[1]), 'timeout');
    node.manifest('policy.yaml', serverPolicy('client'));
    await waitFor('the permission', async () => (await reach('tcp', VIPS[0])) === 'ok');
  });

  await t.test(
    'a backend that goes keeps no new connection, one that comes gets them, and a held one goes on',
    async () => {
      const held = await client.actor.do({ op: 'hold', ...to(VIPS[0]) });
      assert.match(held, /^held /);
      node.manifest('web.yaml', serviceManifest([server, other]));
      const say = async (): Promise<string> =>
        await client.actor.do({ op: 'say', id: Number(held.slice(5)), timeoutMs: ANSWER_MS });
      assert.equal(await say(), 'ok');
      const connections = async (pod: Pod): Promise<number> => {
        const { stdout } = await node.weir('map', 'get', 'weir_ct4');
        return stdout.split('\n').filter((line) => line.includes(`TCP IN`) && line.includes(`-> ${pod.ipv4}:8080`))
          .length;
      };
      await waitFor('a connection to the new backend', async () => {
        assert.equal(await reach('tcp', VIPS[0]), 'ok');
        return (await connections(other)) > 0;
      });
      assert.equal(await say(), 'ok');
      node.manifest('web.yaml', serviceManifest([other]));
      const { stdout } = await waitFor('the backend to go', async () => {
        const listed = await node.weir('map', 'get', 'weir_lb_backends');
        return listed.stdout.includes(`${server.ipv4}:`) ? undefined : listed;
      });
      assert.match(stdout, new RegExp(`${other.ipv4.replaceAll('.', '\\.')}:8080/TCP active`));
      const before = await connections(server);
      for (let i = 0; i < 8; i++) assert.equal(await reach('tcp', VIPS[0]), 'ok');
      assert.equal(await connections(server), before);
    },
  );

  await t.test('an agent that comes back finds its services, which served meanwhile', async () => {
    await node.stopAgent('SIGKILL');
    assert.equal(await reach('tcp', VIPS[0]), 'ok');
    await node.startAgent();
    assert.equal(await reach('tcp', VIPS[1]), 'ok');
  });

  await t.test('a service without backends says why, and one that is gone leads nowhere', async () => {
    node.manifest('web.yaml', serviceManifest([]));
    // An ICMP error that comes while the kernel is still busy with connect() is lost: the second SYN tells.
    const refused = { op: 'tcp', ...to(VIPS[0]) } as const;
    await waitFor('the refusal', async () => (await client.actor.do(refused)) === 'ECONNREFUSED');
    const { stdout } = await node.weir('bpf', 'metrics', 'list');
    assert.match(stdout, /Service backend not found/);
    node.manifest('web.yaml', '');
    await waitFor(
      'the end',
      async () => !/\S/.test((await node.weir('bpf', 'lb', 'list', '-o', 'json')).stdout.replaceAll(/[[\]]/g, '')),
    );
  });
});
