/** Inputs of the policy bench: 10,000 pods of 200 apps in 50 namespaces, and policies of several mixes over them. */
import { identityId, type Identity } from '../../agent/model/identity.ts';
import { canonicalLabels, type Label } from '../../agent/model/labels.ts';

/** Pods have identities from here on. */
export const FIRST_POD = 1000;
/** The subject of all mixes: a pod of `app-0` in `ns-0`. */
export const SUBJECT = identityId(FIRST_POD);

const k8s = (key: string, value: string): Label => ({ source: 'k8s', key, value });

function labels(namespace: string, own: readonly Label[]): readonly Label[] {
  return canonicalLabels([
    ...own,
    k8s('io.kubernetes.pod.namespace', namespace),
    k8s('io.cilium.k8s.policy.cluster', 'default'),
    k8s('io.cilium.k8s.policy.serviceaccount', 'default'),
    k8s('io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name', namespace),
  ]);
}

export function pods(count: number): readonly Identity[] {
  return Array.from({ length: count }, (_, i) => ({
    id: identityId(FIRST_POD + i),
    labels: labels(`ns-${i % 50}`, [
      k8s('app', `app-${i % 200}`),
      k8s('tier', `t${i % 5}`),
      k8s('version', `v${i % 3}`),
      k8s('idx', String(i)),
    ]),
  }));
}

/** A pod that ten selectors of the mix `incremental` select. */
export function newcomer(i: number): Identity {
  return { id: identityId(40000 + i), labels: labels('ns-0', [k8s('app', `inc-${i % 100}`)]) };
}

type Spec = Readonly<Record<string, unknown>>;

function policy(i: number, namespace: string, spec: Spec): unknown {
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: `p-${i}`, namespace }, spec };
}

const tcp = (port: number, endPort?: number): unknown => ({
  port: String(port),
  protocol: 'TCP',
  ...(endPort === undefined ? {} : { endPort }),
});
const app = (name: string): unknown => ({ matchLabels: { app: name } });
const appIn = (n: number): unknown => ({
  matchLabels: { app: `app-${n}`, 'k8s:io.kubernetes.pod.namespace': `ns-${n % 50}` },
});

/** Eight shapes in turn: what a decoder meets. */
export function corpus(count: number): readonly unknown[] {
  return Array.from({ length: count }, (_, i) => policy(i, `ns-${i % 50}`, shape(i)));
}

function shape(i: number): Spec {
  const endpointSelector = app(`app-${i % 200}`);
  const peer = appIn((i + 7) % 200);
  switch (i % 8) {
    case 0:
      return { endpointSelector, ingress: [{ fromEndpoints: [peer], toPorts: [{ ports: [tcp(1000 + (i % 400))] }] }] };
    case 1:
      return {
        endpointSelector,
        egress: [
          { toEndpoints: [peer, { matchExpressions: [{ key: 'tier', operator: 'In', values: ['t1', 't2'] }] }] },
          { toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*' }] } }] },
        ],
      };
    case 2: {
      const cidr = { cidr: `10.${i % 256}.0.0/16`, except: [`10.${i % 256}.1.0/24`] };
      return { endpointSelector, ingress: [{ fromCIDRSet: [cidr], toPorts: [{ ports: [tcp(443)] }] }] };
    }
    case 3: {
      const http = [
        { method: 'GET', path: `/api/v${i % 9}/.*` },
        { method: 'POST', path: '/submit' },
      ];
      return {
        endpointSelector,
        ingress: [{ fromEndpoints: [peer], toPorts: [{ ports: [tcp(80)], rules: { http } }] }],
      };
    }
    case 4: {
      const toFQDNs = [{ matchName: `svc-${i}.example.com` }, { matchPattern: '*.example.org' }];
      return { endpointSelector, egress: [{ toFQDNs, toPorts: [{ ports: [tcp(443)] }] }] };
    }
    case 5:
      return {
        endpointSelector,
        ingress: [{ fromEntities: ['cluster'] }],
        ingressDeny: [{ fromEndpoints: [peer], toPorts: [{ ports: [tcp(8000, 8100)] }] }],
      };
    case 6: {
      const matchExpressions = [
        { key: 'tier', operator: 'NotIn', values: ['t0'] },
        { key: 'app', operator: 'Exists' },
      ];
      return {
        endpointSelector: { matchExpressions },
        ingress: [{ fromEndpoints: [{}] }],
        egress: [{ toEntities: ['world', 'kube-apiserver'] }],
      };
    }
    default: {
      const fields = [
        { type: 8, family: 'IPv4' },
        { type: 'EchoRequest', family: 'IPv6' },
      ];
      return {
        endpointSelector,
        ingress: [{ icmps: [{ fields }] }],
        egress: [{ toCIDR: ['192.168.0.0/16', '2001:db8::/32'] }],
        enableDefaultDeny: { egress: false },
      };
    }
  }
}

/** Of every ten policies one selects the subject. */
function tenth(i: number): unknown {
  return app(i % 10 === 0 ? 'app-0' : `app-${50 * (1 + (i % 3))}`);
}

function peerOf(i: number, k: number): unknown {
  return appIn((i * 7 + k * 31) % 200);
}

export const MIXES = {
  /** Peers of fifty identities each, in both directions. */
  narrow: (i: number): Spec => {
    const toPorts = [{ ports: [tcp(1000 + (i % 400))] }];
    return {
      endpointSelector: tenth(i),
      ingress: [{ fromEndpoints: [peerOf(i, 0)], toPorts }],
      egress: [{ toEndpoints: [peerOf(i, 1)], toPorts }],
    };
  },
  /** Peers of two thousand identities each. */
  wide: (i: number): Spec => {
    const q = Math.floor(i / 10);
    const peer = {
      matchLabels: { tier: `t${q % 5}` },
      matchExpressions: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'Exists' }],
    };
    return {
      endpointSelector: tenth(i),
      ingress: [{ fromEndpoints: [peer], toPorts: [{ ports: [tcp(8080 + (q % 4))] }] }],
    };
  },
  /** Denials, ranges, prefixes and layer 7. */
  mixed: (i: number): Spec => {
    const q = Math.floor(i / 10);
    const ports = [tcp(1000 + (i % 400)), ...(q % 3 === 0 ? [tcp(9000, 9100 + (q % 50))] : [])];
    const rules = q % 5 === 1 ? { rules: { http: [{ method: 'GET', path: `/p${i}` }] } } : {};
    const denied = q % 8 === 0 ? {} : { toPorts: [{ ports: [tcp(1000, 1199)] }] };
    const spec: Record<string, unknown> = {
      endpointSelector: tenth(i),
      ingress: [{ fromEndpoints: [peerOf(i, 0)], toPorts: [{ ports, ...rules }] }],
    };
    if (q % 4 === 0) spec['ingressDeny'] = [{ fromEndpoints: [peerOf(i, 2)], ...denied }];
    if (q % 3 === 1) {
      spec['egress'] = [
        { toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] },
        { toEntities: ['world'], toPorts: [{ ports: [tcp(443)] }] },
      ];
    }
    if (q % 7 === 2) {
      spec['egress'] = [
        { toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*' }] } }] },
      ];
    }
    return spec;
  },
  /** All select the subject, each with a selector of its own; a newcomer meets ten of a thousand. */
  incremental: (i: number): Spec => {
    const matchExpressions = [{ key: 'idx', operator: 'NotIn', values: [`x${i}`] }];
    const peer = { matchLabels: { app: `inc-${i % 100}` }, matchExpressions };
    return {
      endpointSelector: app('app-0'),
      ingress: [{ fromEndpoints: [peer], toPorts: [{ ports: [tcp(2000 + Math.floor(i / 100))] }] }],
    };
  },
} as const;

export type Mix = keyof typeof MIXES;

export function policies(mix: Mix, count: number): readonly unknown[] {
  return Array.from({ length: count }, (_, i) => policy(i, 'ns-0', MIXES[mix](i)));
}
