/** Where a node gets the prefixes of its pods from, when its flags do not say them. */
import type { FastifyBaseLogger } from 'fastify';
import type { Config } from '../config/config.ts';
import { decodeCiliumNode } from '../k8s/cilium-node.ts';
import { isRefusal, type ApiServer, type JsonObject } from '../k8s/apiserver/client.ts';
import { delay, retryDelay } from '../k8s/apiserver/retry.ts';
import { collectionPath, preferredApiVersion } from '../k8s/kinds.ts';
import { decodeNode } from '../k8s/node.ts';
import { formatCidr, parseCidr, type Cidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { JsonFile } from '../state/json-file.ts';

export interface PodCidrsOptions {
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly logger: FastifyBaseLogger;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/**
 * The prefixes that the cluster gave this node: in its Node object (`kubernetes`), or in its CiliumNode, by the operator
 * (`cluster-pool`). Waits for them as long as it takes; while the API server is away, those of the last run count.
 *
 * @throws WeirError SOURCE_STOPPED at the signal, CONFIG_INVALID when they are no prefixes of pods
 */
export async function awaitPodCidrs(
  { nodeName, ipam, stateDir }: Pick<Config, 'nodeName' | 'ipam' | 'stateDir'>,
  { server, clock, logger, signal }: PodCidrsOptions,
): Promise<Config['podCidrs']> {
  const file = new JsonFile(`${stateDir}/pod-cidrs.json`, decodeTexts);
  const kind = ipam === 'kubernetes' ? ('Node' as const) : ('CiliumNode' as const);
  for (let attempts = 1; !signal.aborted; attempts++) {
    try {
      const cidrs = await ask(server, kind, nodeName);
      if (cidrs.length > 0) {
        await file.write(cidrs.map(formatCidr));
        return byFamily(cidrs, `${kind} ${nodeName}`);
      }
      if (attempts === 1) logger.info({ node: nodeName }, `waiting for the prefixes of pods in ${kind} ${nodeName}`);
    } catch (error) {
      if (error instanceof WeirError && error.code === 'CONFIG_INVALID') throw error;
      if (attempts === 1) logger.warn({ err: error }, `the prefixes of pods are not known yet: ${errorText(error)}`);
      const remembered = await file.read(clock.now());
      if (remembered.kind === 'value') return byFamily(remembered.value.map(parseCidr), file.path);
    }
    await delay(clock, Math.min(2_000, retryDelay(undefined, attempts, Math.random())), signal);
  }
  throw new WeirError('SOURCE_STOPPED', 'stopped before the prefixes of pods were known');
}

async function ask(server: ApiServer, kind: 'Node' | 'CiliumNode', name: string): Promise<readonly Cidr[]> {
  const apiVersion = preferredApiVersion(kind);
  const collection = collectionPath(kind, apiVersion);
  let object: JsonObject;
  try {
    object = await server.request({ method: 'GET', path: `${collection}/${name}` });
  } catch (error) {
    if (!isRefusal(error, 404)) throw error;
    // The operator gives prefixes to the nodes that ask for some by being there.
    if (kind === 'CiliumNode') await announce(server, collection, { apiVersion, kind, metadata: { name }, spec: {} });
    return [];
  }
  const resource = { apiVersion, kind, namespace: '', name, uid: '', object };
  return (kind === 'Node' ? decodeNode(resource) : decodeCiliumNode(resource)).podCidrs;
}

async function announce(server: ApiServer, path: string, body: JsonObject): Promise<void> {
  try {
    await server.request({ method: 'POST', path, body });
  } catch (error) {
    if (!isRefusal(error, 409)) throw error;
  }
}

/** The first prefix of each family. */
function byFamily(cidrs: readonly Cidr[], object: string): Config['podCidrs'] {
  const ipv4 = cidrs.find(({ address }) => address.family === 4);
  const ipv6 = cidrs.find(({ address }) => address.family === 6);
  if (ipv4 === undefined && ipv6 === undefined) {
    throw new WeirError('CONFIG_INVALID', 'holds no prefix of pods', { object });
  }
  return Object.freeze({ ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) });
}

function decodeTexts(json: unknown): readonly string[] {
  if (Array.isArray(json) && json.every((item) => typeof item === 'string')) return json;
  throw new Error('expected a list of prefixes');
}
