/** Who is meant by `--src` and `--dst`. Pure. */
import { parseAddress } from '../../agent/model/address.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import { LABEL, parseLabel } from '../../agent/model/labels.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { isPortName } from '../../agent/policy/api/port.ts';
import type { FlowPort, OfflineCluster, Peer } from './offline-cluster.ts';

export const PEER_FORMS =
  'namespace/pod, an address, dns:NAME, labels such as app=web,namespace=shop, or host, world, remote-node …';

/**
 * Finds a peer by what a person calls it; see {@link PEER_FORMS}.
 *
 * @throws WeirError REQUEST_INVALID naming the flag.
 */
export function findPeer(cluster: OfflineCluster, text: string, flag: string): Peer {
  const name = text.replace(/^(?:pod|ip):(?!:)/, '');
  if (name.startsWith('dns:')) return cluster.domain(name.slice('dns:'.length));
  if (Object.hasOwn(RESERVED_IDENTITY, name)) return cluster.reserved(name) ?? unknown(cluster, text, flag);
  if (name.includes('=')) return labelledPeer(cluster, name, flag);
  if (/^[\d.]+$/.test(name) || name.includes(':')) return addressPeer(cluster, name, flag);
  const [namespace, pod] = name.includes('/') ? (name.split('/', 2) as [string, string]) : ['default', name];
  return cluster.pod(namespace, pod) ?? unknown(cluster, text, flag);
}

function addressPeer(cluster: OfflineCluster, text: string, flag: string): Peer {
  try {
    return cluster.address(parseAddress(text));
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    throw new WeirError('REQUEST_INVALID', error.message, { field: flag, remedy: error.remedy, cause: error });
  }
}

/** Labels with source `k8s` unless they name one; `namespace=` is short for the label that carries it. */
function labelledPeer(cluster: OfflineCluster, text: string, flag: string): Peer {
  const labels = text.split(',').map((part) => {
    const label = parseLabel(part.trim(), 'k8s');
    return label.key === 'namespace' ? { ...label, key: LABEL.podNamespace } : label;
  });
  if (labels.every(({ source, key }) => source !== 'k8s' || key !== LABEL.podNamespace)) {
    throw new WeirError('REQUEST_INVALID', 'a pod lies in a namespace', {
      field: flag,
      remedy: `add namespace=NAME to ${text}`,
    });
  }
  const own = { source: 'k8s', key: LABEL.cluster, value: cluster.config.clusterName };
  return cluster.labelled(text, [own, ...labels]);
}

function unknown(cluster: OfflineCluster, text: string, flag: string): never {
  const pods = cluster.pods.map(({ pod }) => `${pod.namespace}/${pod.name}`);
  const known =
    pods.length === 0
      ? 'the manifests hold no pods'
      : `pods are ${pods.slice(0, 8).join(', ')}${pods.length > 8 ? ' …' : ''}`;
  throw new WeirError('REQUEST_INVALID', `nobody is called ${JSON.stringify(text)}`, {
    field: flag,
    remedy: `give ${PEER_FORMS}; ${known}`,
  });
}

/**
 * Parses `80`, `80/TCP`, `tcp/80`, `http/tcp` (a port of the destination by its name), `icmp/8`.
 *
 * @throws WeirError REQUEST_INVALID
 */
export function parseFlowPort(text: string, flag: string, byName: (name: string) => FlowPort | undefined): FlowPort {
  const parts = text.split('/');
  const protocolAt = parts.findIndex((part) => protocolNumber(part) !== undefined);
  const protocol = protocolAt < 0 ? PROTOCOL.TCP : protocolNumber(parts[protocolAt]!)!;
  const [port = '', ...more] = parts.filter((_, i) => i !== protocolAt);
  if (more.length === 0 && /^\d{1,5}$/.test(port) && Number(port) <= 65535) return { protocol, port: Number(port) };
  const named = more.length === 0 && isPortName(port) ? byName(port.toLowerCase()) : undefined;
  if (named !== undefined) return named;
  throw new WeirError('REQUEST_INVALID', `${JSON.stringify(text)} is no port of the destination`, {
    field: flag,
    remedy: 'write 80, 80/TCP, 53/UDP, icmp/8, or the name of a port',
  });
}

function protocolNumber(name: string): number | undefined {
  const wanted = name.toUpperCase();
  const known = Object.entries(PROTOCOL).find(([candidate]) => candidate.toUpperCase() === wanted);
  return wanted === 'ANY' ? undefined : known?.[1];
}
