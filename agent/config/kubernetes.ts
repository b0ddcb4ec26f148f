import type { Reader } from './reader.ts';

/** How the agent speaks to an API server. */
export interface KubernetesConfig {
  /** Undefined: the service account of the pod. */
  readonly kubeconfig: string | undefined;
  /** Empty: the one that the credentials name. */
  readonly servers: readonly string[];
  /** Writes a second, and how many may go at once. */
  readonly qps: number;
  readonly burst: number;
  /** Milliseconds. */
  readonly heartbeatTimeout: number;
  readonly endpointSlices: boolean;
}

export function readKubernetes(reader: Reader, environment: NodeJS.ProcessEnv): KubernetesConfig | undefined {
  const mode = reader.oneOf('enable-k8s', ['auto', 'true', 'false']);
  const kubeconfig = reader.optional('k8s-kubeconfig-path');
  const servers = reader.list('k8s-api-server-urls');
  const manifests = reader.optional('manifests');
  const named = kubeconfig !== undefined || servers.length > 0;
  const inPod = manifests === undefined && (environment['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
  if (mode === 'false' || (mode === 'auto' && !named && !inPod)) return undefined;
  if (manifests !== undefined)
    reader.fail('manifests', 'objects come from an API server or from a directory of manifests, not from both');
  return Object.freeze({
    ...{ kubeconfig, servers },
    qps: reader.number('k8s-client-qps', 1, 10_000),
    burst: reader.number('k8s-client-burst', 1, 10_000),
    heartbeatTimeout: reader.duration('k8s-heartbeat-timeout'),
    endpointSlices: reader.flag('enable-cilium-endpoint-slice'),
  });
}
