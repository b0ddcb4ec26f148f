/**
 * Names as clusters use them: the name server is a pod behind a cluster address, pods may ask it for some names only, and it
 * admits by policy who asks.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { runAsync } from '../harness/exec.ts';
import { WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { namespaceManifest, Pod, podManifest } from '../harness/pod.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

const VIPS = ['10.96.0.10', 'fd00:96::10'] as const;
const ZONE = 'cilium.io.';
const NAMED = '198.18.0.1';
const PORT = 8080;
/** Not 53: policy and proxy see the server's own port. */
const TARGET = 5353;

const POLICIES = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: client, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toEndpoints:
        - matchLabels: { "k8s:io.kubernetes.pod.namespace": kube-system, "k8s:k8s-app": kube-dns }
      toPorts:
        - ports: [{ port: "${TARGET}", protocol: ANY }]
          rules:
            dns: [{ matchPattern: "*.cilium.io" }]
    - toFQDNs: [{ matchPattern: "*.cilium.io" }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: kube-dns, namespace: kube-system }
spec:
  endpointSelector: { matchLabels: { k8s-app: kube-dns } }
  ingress:
    - fromEndpoints:
        - matchLabels: { app: client, "k8s:io.kubernetes.pod.namespace": default }
      toPorts: [{ ports: [{ port: "${TARGET}", protocol: ANY }] }]
`;

function serviceManifest(server: Pod): string {
  const slice = (family: 4 | 6): string => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns-${family}
  namespace: kube-system
  labels: { kubernetes.io/service-name: kube-dns }
addressType: IPv${family}
ports: [{ name: dns, protocol: UDP, port: ${TARGET} }, { name: dns-tcp, protocol: TCP, port: ${TARGET} }]
endpoints: [{ addresses: ["${family === 4 ? server.ipv4 : server.ipv6}"], conditions: { ready: true } }]
`;
  return `apiVersion: v1
kind: Service
metadata: { name: kube-dns, namespace: kube-system }
spec:
  clusterIPs: ${JSON.stringify(VIPS)}
  ipFamilyPolicy: PreferDualStack
  selector: { k8s-app: kube-dns }
  ports:
    - { name: dns, protocol: UDP, port: 53, targetPort: ${TARGET} }
    - { name: dns-tcp, protocol: TCP, port: 53, targetPort: ${TARGET} }
${slice(4)}${slice(6)}`;
}

const stack = new AsyncDisposableStack();
let node: WeirNode;
let client: Pod;

before(async () => {
  node = stack.use(new WeirNode({ name: 'kube-dns' }));
  node.manifest('namespace.yaml', namespaceManifest('kube-system'));
  node.manifest('server.yaml', podManifest('coredns', { 'k8s-app': 'kube-dns' }, 'kube-system'));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  node.manifest('policies.yaml', POLICIES);
  node.world.ip('route add local 198.18.0.0/16 dev lo');
  node.ns.ip(`route add 198.18.0.0/16 via ${WORLD_ADDRESSES.v4}`);
  const world = stack.use(await Actor.start(node.world));
  await world.do({ op: 'serve', port: PORT });
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'coredns', 'kube-system'));
  client = stack.use(await Pod.create(node, 'client'));
  const records = [`api.${ZONE} 60 A ${NAMED}`];
  const addresses = [server.ipv4, server.ipv6];
  stack.use(await DnsServerProcess.start(server.ns, { kind: 'knot', zone: ZONE, records, addresses, port: TARGET }));
  node.manifest('service.yaml', serviceManifest(server));
});
after(() => stack.disposeAsync());

async function dig(server: string, ...words: string[]): Promise<string> {
  const argv = [...client.ns.enter, 'dig', `@${server}`, '+time=5', '+tries=6', ...words];
  return (await runAsync(argv)).stdout;
}

test('a name server behind a cluster address: allowed names resolve and connect, others are refused', async () => {
  await waitFor('the service', async () => (await dig(VIPS[0], '+short', `api.${ZONE}`)) === `${NAMED}\n`);
  for (const vip of VIPS) {
    for (const protocol of ['+notcp', '+tcp']) {
      assert.equal(await dig(vip, protocol, '+short', `api.${ZONE}`), `${NAMED}\n`, `${protocol} ${vip}`);
      assert.match(await dig(vip, protocol, 'www.example.com'), /status: REFUSED/, `${protocol} ${vip}`);
    }
  }
  assert.equal(await client.actor.do({ op: 'tcp', host: NAMED, port: PORT, timeoutMs: ANSWER_MS }), 'ok');
});

test('the name server’s own policy sees the pod that asks', async () => {
  node.manifest('policies.yaml', POLICIES.replace('{ app: client, "k8s:io', '{ app: nobody, "k8s:io'));
  await waitFor(
    'the refusal',
    async () => (await dig(VIPS[0], '+time=1', '+tries=1', '+short', `api.${ZONE}`)) !== `${NAMED}\n`,
  );
  node.manifest('policies.yaml', POLICIES);
  await waitFor('the admission', async () => (await dig(VIPS[1], '+short', `api.${ZONE}`)) === `${NAMED}\n`);
});
