/** Services of the matrix: one whose backend is on the first node, one whose backend is on the third, each by every address. */
import type { Cluster, Member } from '../../harness/cluster.ts';
import { serviceManifest, type ServiceBackend } from '../../harness/service.ts';
import { waitFor } from '../../harness/wait.ts';
import { PORT, type Family, type Place, type Target } from './places.ts';

const SERVICE_PORT = 80;
const TRANSPORTS = ['tcp', 'udp'] as const;

interface Frontend {
  readonly name: string;
  readonly clusterIPs: readonly [ipv4: string, ipv6: string];
  readonly nodePort: number;
  readonly backend: Place;
  /** As titles call it. */
  readonly title: string;
}

/**
 * Makes the services `near` and `far`, and waits until every node serves them.
 *
 * @returns what can be asked for
 */
export async function serveFrontends(cluster: Cluster, near: Place, far: Place): Promise<Target[]> {
  const frontends: readonly Frontend[] = [
    { name: 'near', clusterIPs: ['10.96.0.10', 'fd00:96::10'], nodePort: 30_080, backend: near, title: 'service' },
    { name: 'far', clusterIPs: ['10.96.0.20', 'fd00:96::20'], nodePort: 30_090, backend: far, title: 'remote service' },
  ];
  const [one, , three] = cluster.members as readonly [Member, Member, Member];
  cluster.world.ip(`route add 10.96.0.0/16 via ${one.ipv4}`);
  cluster.world.ip(`route add fd00:96::/64 via ${one.ipv6}`);
  for (const { name, clusterIPs, nodePort, backend } of frontends) {
    const ports = { port: SERVICE_PORT, targetPort: PORT, nodePort };
    const spec = { type: 'NodePort', clusterIPs };
    cluster.manifest(`service-${name}.json`, serviceManifest({ name, ...ports, spec, backends: [backendAt(backend)] }));
  }
  for (const { node } of cluster.members) {
    const hasAll = async (): Promise<boolean> => {
      const { stdout } = await node.weir('bpf', 'lb', 'list');
      return frontends.every(({ nodePort }) =>
        TRANSPORTS.every((transport) => stdout.includes(`:${nodePort}/${transport.toUpperCase()}`)),
      );
    };
    await waitFor('the services', hasAll);
  }
  return frontends.flatMap((frontend) => [
    clusterAddress(frontend),
    nodePort(frontend, 'node port', one),
    nodePort(frontend, 'third node port', three),
  ]);
}

function backendAt(place: Place): ServiceBackend {
  return {
    ...{ ipv4: place.address(4), ipv6: place.address(6), conditions: { ready: true } },
    ...(place.node !== undefined && { nodeName: place.node }),
  };
}

/** It answers no ICMP, and means nothing outside of the cluster. */
function clusterAddress({ title, clusterIPs, backend }: Frontend): Target {
  return {
    ...{ name: title, place: backend, port: SERVICE_PORT, protocols: TRANSPORTS, reachableBy: () => true },
    address: (family: Family) => clusterIPs[family === 4 ? 0 : 1],
    refusal: ({ kind }) => (kind === 'world' ? 'Is a ClusterIP' : undefined),
  };
}

/** ICMP to a node's address is the host's, whom the matrix has already. */
function nodePort({ title, nodePort: port, backend }: Frontend, name: string, asked: Member): Target {
  const { ipv4, ipv6, routers } = asked;
  return {
    ...{ name: `${name} of ${title}`, place: backend, port, protocols: TRANSPORTS },
    reachableBy: () => true,
    address: (family: Family) => (family === 4 ? ipv4 : ipv6),
    asked: [ipv4, ipv6, ...routers],
  };
}
