/** The policies under which every pair is tried, and what they mean for it. */

/** Selects all pods of the matrix. */
export const MATRIX_LABEL = { suite: 'matrix' } as const;

export interface MatrixPolicy {
  readonly name: string;
  /** As drops name it; undefined when no policy drops anything. */
  readonly drops: string | undefined;
  /** Whether pods are under default deny, or under rules that do as much. */
  readonly enforced: boolean;
  /** What a pod may send to anybody, and what anybody may send to it. */
  readonly egress: boolean;
  readonly ingress: boolean;
  /** A node reaches its own pods, unless a rule forbids it (--allow-localhost). */
  readonly ownHost: boolean;
  readonly manifest: string;
}

function manifest(name: string, spec: object): string {
  return JSON.stringify({
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'default' } },
    spec: { endpointSelector: { matchLabels: MATRIX_LABEL }, ...spec },
  });
}

/** Everybody there is, each by the name under which policies know him. */
const EVERYBODY = ['cluster', 'world'];

export const POLICIES: readonly MatrixPolicy[] = [
  { name: 'no policy', drops: undefined, enforced: false, egress: true, ingress: true, ownHost: true, manifest: '' },
  {
    ...{ name: 'allow', drops: undefined, enforced: true, egress: true, ingress: true, ownHost: true },
    manifest: manifest('allow', {
      ingress: [{ fromEntities: EVERYBODY }],
      egress: [{ toEntities: EVERYBODY }],
    }),
  },
  {
    ...{ name: 'deny', drops: 'CiliumNetworkPolicy default/deny', enforced: true, egress: false, ingress: false },
    ownHost: false,
    manifest: manifest('deny', {
      ...{ ingress: [{ fromEntities: EVERYBODY }], egress: [{ toEntities: EVERYBODY }] },
      ...{ ingressDeny: [{ fromEntities: EVERYBODY }], egressDeny: [{ toEntities: EVERYBODY }] },
    }),
  },
  {
    ...{ name: 'default deny', drops: 'CiliumNetworkPolicy default/default-deny', enforced: true },
    ...{ egress: false, ingress: false, ownHost: true },
    manifest: manifest('default-deny', { ingress: [{}], egress: [{}] }),
  },
];
