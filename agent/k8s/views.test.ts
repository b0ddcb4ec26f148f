import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatAddress, formatCidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { formatLabel } from '../model/labels.ts';
import type { Resource } from '../model/resource.ts';
import { decodeCidrGroup } from './cidr-group.ts';
import { decodeCiliumEndpoint, decodeCiliumEndpointSlice } from './cilium-endpoint.ts';
import { decodeCiliumIdentity } from './cilium-identity.ts';
import { decodeCiliumNode } from './cilium-node.ts';
import { decodeEndpointSlice } from './endpoint-slice.ts';
import { decodeNamespace } from './namespace.ts';
import { decodeNode } from './node.ts';
import { parseManifest } from './parse-manifest.ts';
import { decodePod } from './pod.ts';
import { decodeService, isBalanced } from './service.ts';

function resource(text: string): Resource {
  const { resources, issues } = parseManifest('m.yaml', text);
  assert.deepEqual(issues, []);
  return resources[0]!;
}

const POD = `apiVersion: v1
kind: Pod
metadata:
  name: web-0
  namespace: shop
  uid: 7f
  labels: {app: web, empty: }
spec:
  containers:
  - name: web
    ports: [{name: http, containerPort: 8080}, {containerPort: 9090, hostPort: 90}, {name: dns, containerPort: 53, protocol: UDP, hostPort: 53, hostIP: 192.0.2.1}]
  initContainers:
  - name: sidecar
    restartPolicy: Always
    ports: [{name: admin, containerPort: 15000}]
  - name: once
    ports: [{name: never, containerPort: 1}]
`;

describe('Pod', () => {
  test('what a manifest says', () => {
    const pod = decodePod(resource(POD));
    assert.deepEqual(
      [...pod.labels],
      [
        ['app', 'web'],
        ['empty', ''],
      ],
    );
    assert.deepEqual(
      pod.namedPorts.map((p) => `${p.name} ${p.protocol} ${p.port}`),
      ['http 6 8080', 'dns 17 53', 'admin 6 15000'],
    );
    assert.deepEqual(
      pod.hostPorts.map((p) => [
        p.hostAddress && formatAddress(p.hostAddress),
        p.hostPort,
        p.protocol,
        p.containerPort,
      ]),
      [
        [undefined, 90, 6, 9090],
        ['192.0.2.1', 53, 17, 53],
      ],
    );
    assert.equal(pod.serviceAccountName, 'default');
    assert.equal(pod.phase, 'Pending');
    assert.equal(pod.uid, '7f');
    assert.equal(pod.hostNetwork, false);
    assert.deepEqual(pod.addresses, []);
    assert.equal(pod.terminating, false);
  });

  test('what a cluster adds', () => {
    const pod = decodePod(
      resource(`${POD}  serviceAccountName: robot
  hostNetwork: true
  nodeName: n1
status:
  phase: Running
  hostIP: 192.0.2.1
  podIP: 10.0.0.7
  podIPs: [{ip: 10.0.0.7}, {ip: "fd00::7"}]
`),
    );
    assert.deepEqual(pod.addresses.map(formatAddress), ['10.0.0.7', 'fd00::7']);
    assert.equal(formatAddress(pod.hostAddress!), '192.0.2.1');
    assert.deepEqual(
      [pod.serviceAccountName, pod.hostNetwork, pod.nodeName, pod.phase],
      ['robot', true, 'n1', 'Running'],
    );
  });
});

test('Namespace has its automatic label, whatever the author wrote', () => {
  const ns = decodeNamespace(
    resource(
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a, kubernetes.io/metadata.name: x}}',
    ),
  );
  assert.deepEqual(Object.fromEntries(ns.labels), { team: 'a', 'kubernetes.io/metadata.name': 'shop' });
});

test('Node', () => {
  const node = decodeNode(
    resource(`apiVersion: v1
kind: Node
metadata:
  name: n1
  annotations: {network.cilium.io/ipv4-cilium-host: 10.0.0.1}
spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24, "fd00::/112"]}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
  - {type: Hostname, address: n1}
`),
  );
  assert.deepEqual(node.podCidrs.map(formatCidr), ['10.0.0.0/24', 'fd00::/112']);
  assert.deepEqual(
    node.addresses.map((a) => `${a.type} ${formatAddress(a.address)}`),
    ['InternalIP 192.0.2.1', 'CiliumInternalIP 10.0.0.1'],
  );
});

const SERVICE = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  clusterIPs: [10.96.0.9, "fd00:96::9"]
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, targetPort: 5353}
  - {name: same, port: 9}
`;

describe('Service', () => {
  test('addresses, ports, affinity', () => {
    const service = decodeService(resource(SERVICE));
    assert.deepEqual(service.clusterAddresses.map(formatAddress), ['10.96.0.9', 'fd00:96::9']);
    assert.deepEqual(
      service.ports.map((p) => [p.name, p.protocol, p.port, p.targetPort, p.nodePort]),
      [
        ['http', 6, 80, 'http', 30080],
        ['dns', 17, 53, 5353, undefined],
        ['same', 6, 9, 9, undefined],
      ],
    );
    assert.equal(service.sessionAffinitySeconds, 10_800);
    assert.deepEqual([...service.selector!], [['app', 'web']]);
  });

  test('headless and without a selector', () => {
    const service = decodeService(
      resource('apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: None}'),
    );
    assert.equal(service.headless, true);
    assert.equal(service.selector, undefined);
    assert.deepEqual(service.clusterAddresses, []);
  });

  test('what load balancers and other proxies take for themselves', () => {
    const service = decodeService(
      resource(`apiVersion: v1
kind: Service
metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: ""}}
spec: {type: LoadBalancer, clusterIP: 10.96.0.9, loadBalancerSourceRanges: [" 203.0.113.0/24 "]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.1, ipMode: VIP}, {ip: 198.51.100.2, ipMode: Proxy}, {hostname: h}]}}`),
    );
    assert.deepEqual(service.loadBalancerAddresses.map(formatAddress), ['198.51.100.1']);
    assert.deepEqual(service.loadBalancerSourceRanges.map(formatCidr), ['203.0.113.0/24']);
    assert.ok(!isBalanced(service));
    assert.ok(isBalanced(decodeService(resource(SERVICE))));
  });
});

const SLICE = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: all}]
endpoints:
- addresses: [10.0.0.7]
  targetRef: {kind: Pod, name: web-0}
- addresses: [10.0.0.8]
  conditions: {ready: false, serving: true, terminating: true}
  nodeName: n2
`;

describe('EndpointSlice', () => {
  test('backends and their conditions', () => {
    const slice = decodeEndpointSlice(resource(SLICE))!;
    assert.equal(slice.service, 'web');
    assert.deepEqual(
      slice.endpoints.map((e) => [
        e.addresses.map(formatAddress),
        e.ready,
        e.serving,
        e.terminating,
        e.pod,
        e.nodeName,
      ]),
      [
        [['10.0.0.7'], true, true, false, 'shop/web-0', undefined],
        [['10.0.0.8'], false, true, true, undefined, 'n2'],
      ],
    );
    assert.deepEqual(
      slice.ports.map((p) => [p.name, p.protocol, p.port]),
      [
        ['http', 6, 8080],
        ['all', 6, undefined],
      ],
    );
  });

  test('slices of names hold no addresses', () => {
    assert.equal(decodeEndpointSlice(resource(SLICE.replace('IPv4', 'FQDN'))), undefined);
  });
});

test('CiliumCIDRGroup', () => {
  const group = decodeCidrGroup(
    resource(
      'apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {externalCIDRs: [10.1.2.3/8, "fd00::/8"]}',
    ),
  );
  assert.deepEqual(group.cidrs.map(formatCidr), ['10.0.0.0/8', 'fd00::/8']);
});

describe('faults name object, field and place', () => {
  const cases: readonly (readonly [string, (r: Resource) => unknown, string, string])[] = [
    [
      'a port out of range',
      decodePod,
      POD.replace('8080', '80800'),
      'Pod shop/web-0: spec.containers[0].ports[0].containerPort: must be a whole number from 1 to 65535, not 80800 at m.yaml:11:26',
    ],
    [
      'a protocol',
      decodePod,
      POD.replace('UDP', 'ICMP'),
      'spec.containers[0].ports[2].protocol: must be one of TCP, UDP, SCTP, not "ICMP" at m.yaml:11:',
    ],
    [
      'a list that is none',
      decodePod,
      `${POD}status: {podIPs: 10.0.0.1}`,
      'status.podIPs: must be a list, not "10.0.0.1" at m.yaml:18:10',
    ],
    [
      'an address',
      decodePod,
      `${POD}status: {podIP: 10.0.0}`,
      'status.podIP: "10.0.0" is not an IP address at m.yaml:18:10',
    ],
    ['a boolean', decodePod, `${POD}  hostNetwork: "yes"`, 'spec.hostNetwork: must be true or false, not "yes"'],
    [
      'a service port that is missing',
      decodeService,
      SERVICE.replace('port: 9', 'nodePort: 9'),
      'spec.ports[2].port: is missing at m.yaml:11:',
    ],
    [
      'an address of the other family',
      decodeEndpointSlice,
      SLICE.replace('10.0.0.8', '"fd00::8"'),
      'endpoints[1].addresses[0]: must be an IPv4 address, as addressType says',
    ],
    ['no address type', decodeEndpointSlice, SLICE.replace('addressType: IPv4\n', ''), 'addressType: is missing'],
    [
      'a forgotten list',
      decodeCidrGroup,
      'apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {}',
      'spec.externalCIDRs: is missing at m.yaml:4:1',
    ],
    [
      'a prefix',
      decodeCidrGroup,
      'apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {externalCIDRs: [10.0.0.0/33]}',
      'spec.externalCIDRs[0]: "10.0.0.0/33" is not a prefix',
    ],
    ['another kind', decodeNamespace, POD, 'kind: must be Namespace'],
  ];
  for (const [name, decode, text, expected] of cases) {
    test(name, () => {
      assert.throws(
        () => decode(resource(text)),
        (e) => {
          assert.ok(e instanceof WeirError);
          assert.equal(e.code, 'RESOURCE_INVALID');
          assert.ok(e.describe().includes(expected), e.describe());
          return true;
        },
      );
    });
  }
});

describe('what other agents announce', () => {
  test('CiliumNode', () => {
    const node = decodeCiliumNode(
      resource(`apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n2}
spec:
  addresses:
    - {type: InternalIP, ip: 192.0.2.2}
    - {type: CiliumInternalIP, ip: 10.244.2.1}
    - {type: Hostname, ip: n2}
  health: {ipv4: 10.244.2.9}
  ingress: {}
  ipam: {podCIDRs: [10.244.2.0/24, "fd00:10:244:2::/64"]}
  encryption: {key: 0}
`),
    );
    assert.deepEqual(
      node.addresses.map(({ type, address }) => `${type} ${formatAddress(address)}`),
      ['InternalIP 192.0.2.2', 'CiliumInternalIP 10.244.2.1'],
    );
    assert.deepEqual(node.podCidrs.map(formatCidr), ['10.244.2.0/24', 'fd00:10:244:2::/64']);
    assert.deepEqual([node.health.map(formatAddress), node.ingress], [['10.244.2.9'], []]);
  });

  const identity = (name: string, labels: string) =>
    resource(
      `apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: ${JSON.stringify(name)}}\nsecurity-labels: ${labels}\n`,
    );

  test('CiliumIdentity', () => {
    const { id, labels } = decodeCiliumIdentity(identity('12345', '{"k8s:b/c": "x", "k8s:a": ""}'));
    assert.deepEqual([id, labels.map(formatLabel)], [12345, ['k8s:a', 'k8s:b/c=x']]);
  });

  test('nobody becomes the host by an object', () => {
    for (const [name, labels, field] of [
      ['255', '{"k8s:a": b}', 'metadata.name'],
      ['65536', '{"k8s:a": b}', 'metadata.name'],
      ['web', '{"k8s:a": b}', 'metadata.name'],
      ['300', '{}', 'security-labels'],
      ['300', '{"reserved:host": ""}', 'security-labels["reserved:host"]'],
    ] as const) {
      assert.throws(() => decodeCiliumIdentity(identity(name, labels)), { code: 'RESOURCE_INVALID', field });
    }
  });

  test('CiliumEndpoint, and the same in a slice', () => {
    const networking = 'networking: {addressing: [{ipv4: 10.0.0.7, ipv6: "fd00::7"}], node: 192.0.2.2}';
    const ports = 'named-ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]';
    const endpoint = decodeCiliumEndpoint(
      resource(`apiVersion: cilium.io/v2
kind: CiliumEndpoint
metadata: {name: web-0, namespace: shop}
status:
  id: 17
  state: ready
  identity: {id: 12345, labels: ["k8s:app=web"]}
  ${networking}
  ${ports}
`),
    );
    assert.deepEqual(endpoint?.addresses.map(formatAddress), ['10.0.0.7', 'fd00::7']);
    assert.deepEqual(endpoint.namedPorts.map((p) => `${p.name} ${p.protocol} ${p.port}`), ['http 6 8080', 'dns 17 53']); // prettier-ignore
    assert.deepEqual(
      [endpoint.namespace, endpoint.name, endpoint.identity, formatAddress(endpoint.nodeAddress!)],
      ['shop', 'web-0', 12345, '192.0.2.2'],
    );
    const slice = decodeCiliumEndpointSlice(
      resource(`apiVersion: cilium.io/v2alpha1
kind: CiliumEndpointSlice
metadata: {name: ces-1}
namespace: shop
endpoints:
  - name: web-0
    id: 12345
    ${networking}
    ${ports}
  - {name: starting, networking: {addressing: []}}
`),
    );
    assert.deepEqual(slice, [endpoint]);
  });

  test('an endpoint without an identity is none yet', () => {
    const manifest = 'apiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: a}\nstatus: {state: creating}\n';
    assert.equal(decodeCiliumEndpoint(resource(manifest)), undefined);
  });
});
