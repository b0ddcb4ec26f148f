/** Manifests of services for tests. */
import type { Pod } from './pod.ts';

export interface ServiceSpec {
  readonly name: string;
  /** Of `spec`, such as `type: NodePort`; ports are `tcp` and `udp`. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly port: number;
  readonly targetPort: number;
  readonly nodePort?: number;
  readonly loadBalancer?: readonly string[];
  readonly backends: readonly ServiceBackend[];
}

export interface ServiceBackend {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly nodeName?: string;
  readonly conditions?: Readonly<Record<string, boolean>>;
}

/** A pod as a backend. */
export function backendOf(
  { ipv4, ipv6, node }: Pod,
  conditions: Readonly<Record<string, boolean>> = { ready: true },
): ServiceBackend {
  return { ipv4, ipv6, nodeName: node.name, conditions };
}

/** A Service with a port of each protocol, and a slice of its backends for each family. */
export function serviceManifest(service: ServiceSpec): string {
  const { name, spec, port, targetPort, nodePort, loadBalancer = [] } = service;
  const object = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: {
      ipFamilyPolicy: 'PreferDualStack',
      ports: ['TCP', 'UDP'].map((protocol) => ({
        ...{ name: protocol.toLowerCase(), protocol, port, targetPort },
        ...(nodePort !== undefined && { nodePort }),
      })),
      ...spec,
    },
    status: { loadBalancer: { ingress: loadBalancer.map((ip) => ({ ip })) } },
  };
  return [object, sliceOf(service, 4), sliceOf(service, 6)].map((item) => JSON.stringify(item)).join('\n---\n');
}

function sliceOf({ name, targetPort, backends }: ServiceSpec, family: 4 | 6): unknown {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${name}-${family}`,
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': name },
    },
    addressType: `IPv${family}`,
    ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: targetPort })),
    endpoints: backends.map(({ ipv4, ipv6, nodeName, conditions }) => ({
      addresses: [family === 4 ? ipv4 : ipv6],
      conditions,
      ...(nodeName !== undefined && { nodeName }),
    })),
  };
}
