/** Why a flow is allowed or denied, at both of its ends. Pure. */
import { parseManifest } from '../../agent/k8s/parse-manifest.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { formatLabel } from '../../agent/model/labels.ts';
import type { Direction } from '../../agent/model/mapstate.ts';
import { protocolName } from '../../agent/model/port.ts';
import { resourceName, type Resource } from '../../agent/model/resource.ts';
import type { Explanation } from '../../agent/policy/explain.ts';
import { reasonsText, verdictText } from '../../agent/policy/explaintext.ts';
import { OfflineCluster, type FlowPort, type Peer } from './offline-cluster.ts';
import { findPeer, parseFlowPort } from './peer.ts';
import type { LiveNode } from './live-node.ts';
import type { ManifestText } from './validate.ts';

export interface TraceRequest {
  /** Who, as {@link findPeer} understands it. */
  readonly source: string;
  readonly destination: string;
  /** As {@link parseFlowPort} understands it. */
  readonly port: string;
}

export interface Trace {
  readonly source: Peer;
  readonly destination: Peer;
  readonly port: FlowPort;
  /** No end denies it. */
  readonly allowed: boolean;
  /** Absent where that end is nobody's endpoint. */
  readonly egress?: Explanation;
  readonly ingress?: Explanation;
}

/**
 * Traces a flow in the cluster that the files describe.
 *
 * @throws WeirError RESOURCE_INVALID, POLICY_INVALID, POLICY_CONFLICT, REQUEST_INVALID
 */
export function trace(files: readonly ManifestText[], request: TraceRequest): Trace {
  const cluster = new OfflineCluster(files.flatMap(resourcesOf));
  const source = findPeer(cluster, request.source, '--src');
  const destination = findPeer(cluster, request.destination, '--dst');
  const port = parseFlowPort(request.port, '--dport', (name) => cluster.portNamed(destination, name));
  const explain = (direction: Direction, subject: Peer, peer: Peer): Explanation | undefined =>
    subject.isEndpoint
      ? cluster.engine.explain({ direction, subject: subject.identity.id, peer: peer.identity.id, ...port })
      : undefined;
  return joined(
    { source, destination, port },
    explain('egress', source, destination),
    explain('ingress', destination, source),
  );
}

/**
 * Traces a flow at a running agent, by the policies, identities and addresses that it knows now.
 *
 * @throws WeirError REQUEST_INVALID, and what the agent answers
 */
export async function traceLive(node: LiveNode, request: TraceRequest): Promise<Trace> {
  const source = await node.findPeer(request.source, '--src');
  const destination = await node.findPeer(request.destination, '--dst');
  const port = parseFlowPort(request.port, '--dport', () => undefined);
  const explain = async (direction: Direction, subject: Peer, peer: Peer): Promise<Explanation | undefined> =>
    subject.isEndpoint ? await node.explain(direction, subject, peer, port) : undefined;
  return joined(
    { source, destination, port },
    await explain('egress', source, destination),
    await explain('ingress', destination, source),
  );
}

function joined(
  flow: Pick<Trace, 'source' | 'destination' | 'port'>,
  egress: Explanation | undefined,
  ingress: Explanation | undefined,
): Trace {
  return {
    ...flow,
    allowed: [egress, ingress].every((end) => end === undefined || end.verdict === 'allow'),
    ...(egress === undefined ? {} : { egress }),
    ...(ingress === undefined ? {} : { ingress }),
  };
}

function resourcesOf({ file, text }: ManifestText): readonly Resource[] {
  const { resources, found, issues } = parseManifest(file, text);
  const fault = issues.find(({ severity }) => severity === 'error');
  if (fault === undefined) return resources;
  const { line = 1, column = 1, field, message } = fault;
  throw new WeirError('RESOURCE_INVALID', message, {
    object: fault.object ?? found.map(resourceName).at(-1) ?? file,
    field: `${file}:${line}:${column}${field === undefined ? '' : ` ${field}`}`,
    remedy: 'see all of it with `weir policy validate`',
  });
}

/**
 * The trace for people: the verdict, who is meant, then why. Where an end denies, the other is told in one line, so that
 * the whole fits a screen; `all` shows both ends and every rule.
 */
export function describeTrace(found: Trace, all: boolean): string {
  const { source, destination, port, allowed, egress, ingress } = found;
  const ends = [egress, ingress].filter((end) => end !== undefined);
  const lines = [
    `${allowed ? 'ALLOWED' : 'DENIED'}: ${source.name} -> ${destination.name} ${protocolName(port.protocol)}/${port.port}`,
    `  from ${describePeer(source)}`,
    `  to   ${describePeer(destination)}`,
  ];
  const told = all || allowed ? ends : ends.filter(({ verdict }) => verdict !== 'allow');
  for (const end of ends) {
    const { direction } = end.question;
    const subject = direction === 'egress' ? source : destination;
    lines.push('', `The ${direction} policy of ${subject.name}: ${verdictText(end)}`);
    if (told.includes(end)) lines.push(...reasonsText(end, all).map((line) => `  ${line}`));
  }
  if (ends.length === 0) lines.push('', 'Neither end is an endpoint of this cluster: no policy decides.');
  return `${lines.join('\n')}\n`;
}

/** Labels that tell a peer from others; what Kubernetes adds to every pod is left out. */
function describePeer({ identity }: Peer): string {
  const telling = identity.labels.filter(({ key }) => !key.startsWith('io.cilium.k8s.'));
  return telling.map(formatLabel).join(' ');
}
