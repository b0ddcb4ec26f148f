/** A running agent: who is a peer there, and why its policies decide as they do. */
import type { ApiClient } from '../../agent/api/client.ts';
import type { Endpoint, IPListEntry } from '../../agent/api/models.ts';
import { cidrContains, formatAddress, parseAddress, parseCidr, type Address } from '../../agent/model/address.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { identityId, IDENTITY_SCOPE, RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import { canonicalLabels, LABEL, parseLabel } from '../../agent/model/labels.ts';
import type { Direction } from '../../agent/model/mapstate.ts';
import type { Explanation } from '../../agent/policy/explain.ts';
import type { FlowPort, Peer } from './offline-cluster.ts';

const PEER_FORMS =
  'namespace/pod, endpoint:ID, identity:ID, an address, labels such as app=web,namespace=shop, or host, world …';

export class LiveNode {
  readonly #client: ApiClient;

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /**
   * Finds a peer by what a person calls it; see {@link PEER_FORMS}. A bare number is an endpoint.
   *
   * @throws WeirError REQUEST_INVALID naming the flag, and what the agent answers
   */
  async findPeer(text: string, flag: string): Promise<Peer> {
    const name = text.replace(/^(?:pod|ip):(?!:)/, '');
    const [, kind, id] = /^(?:(endpoint|identity):)?(\d+)$/.exec(name) ?? [];
    if (kind === 'identity' && id !== undefined) return await this.#identity(name, Number(id));
    if (id !== undefined) return endpointPeer(await this.#client.endpoint(id), flag);
    const reserved = Object.entries(RESERVED_IDENTITY).find(([known]) => known === name)?.[1];
    if (reserved !== undefined) return await this.#identity(name, reserved);
    if (name.includes('=')) return await this.#labelled(name, flag);
    if (/^[\d.]+$/.test(name) || name.includes(':')) return await this.#address(name, flag);
    return await this.#pod(name.includes('/') ? name : `default/${name}`, flag);
  }

  /** @throws WeirError of the agent */
  async explain(direction: Direction, subject: Peer, peer: Peer, port: FlowPort): Promise<Explanation> {
    const ends = { subject: subject.identity.id, peer: peer.identity.id };
    // The model leaves to the engine what an explanation holds; both are of one version.
    return (await this.#client.explain({ direction, ...ends, ...port })) as unknown as Explanation;
  }

  async #identity(name: string, id: number): Promise<Peer> {
    const { labels = [] } = await this.#client.identity(id);
    const identity = { id: identityId(id), labels: canonicalLabels(labels.map((label) => parseLabel(label))) };
    const isPod = id >= IDENTITY_SCOPE.cluster.first && id <= IDENTITY_SCOPE.cluster.last;
    return { name, identity, isEndpoint: isPod };
  }

  async #pod(name: string, flag: string): Promise<Peer> {
    const endpoints = await this.#client.endpoints();
    const own = endpoints.find(({ status }) => status?.['external-identifiers']?.['pod-name'] === name);
    if (own !== undefined) return endpointPeer(own, flag);
    const elsewhere = (await this.#client.ips()).find(
      ({ metadata }) => `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}` === name,
    );
    if (elsewhere !== undefined) return { ...(await this.#identity(name, elsewhere.identity)), isEndpoint: false };
    const pods = endpoints.flatMap(({ status }) => status?.['external-identifiers']?.['pod-name'] ?? []);
    const known = pods.length === 0 ? 'no pod is here' : `pods here are ${pods.slice(0, 8).sort().join(', ')}`;
    throw new WeirError('REQUEST_INVALID', `the agent knows no pod ${name}`, {
      field: flag,
      remedy: `give ${PEER_FORMS}; ${known}`,
    });
  }

  async #address(text: string, flag: string): Promise<Peer> {
    const address = readAddress(text, flag);
    const name = formatAddress(address);
    const own = (await this.#client.endpoints()).find((endpoint) =>
      endpoint.status?.networking?.addressing?.some(({ ipv4, ipv6 }) => ipv4 === name || ipv6 === name),
    );
    if (own !== undefined) {
      const peer = endpointPeer(own, flag);
      return { ...peer, name: `${name} (${peer.name})` };
    }
    const covering = (await this.#client.ips()).filter(({ cidr }) => cidrContains(parseCidr(cidr), address));
    const longest = covering.reduce<IPListEntry | undefined>(
      (best, entry) => (best === undefined || lengthOf(entry) > lengthOf(best) ? entry : best),
      undefined,
    );
    const id = longest?.identity ?? RESERVED_IDENTITY.world;
    // What lies outside, or on another node, is judged there or nowhere; the host's policies are the host's.
    return { ...(await this.#identity(name, id)), isEndpoint: false };
  }

  async #labelled(text: string, flag: string): Promise<Peer> {
    const labels = text.split(',').map((part) => {
      const label = parseLabel(part.trim(), 'k8s');
      return label.key === 'namespace' ? { ...label, key: LABEL.podNamespace } : label;
    });
    const wanted = labels.map(({ source, key, value }) => `${source}:${key}=${value}`);
    const found = (await this.#client.identities()).filter((identity) =>
      wanted.every((label) => identity.labels?.includes(label)),
    );
    const [only, ...more] = found;
    if (only?.id !== undefined && more.length === 0) return await this.#identity(text, only.id);
    throw new WeirError('REQUEST_INVALID', `${found.length} identities have the labels ${text}`, {
      field: flag,
      remedy: 'name one of `weir identity list` as identity:ID',
    });
  }
}

function lengthOf({ cidr }: IPListEntry): number {
  return parseCidr(cidr).length;
}

function readAddress(text: string, flag: string): Address {
  try {
    return parseAddress(text);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    throw new WeirError('REQUEST_INVALID', error.message, { field: flag, remedy: error.remedy, cause: error });
  }
}

function endpointPeer({ id, status }: Endpoint, flag: string): Peer {
  const name = status?.['external-identifiers']?.['pod-name'] ?? `endpoint ${id}`;
  const { identity } = status ?? {};
  if (identity?.id === undefined) {
    throw new WeirError('REQUEST_INVALID', `endpoint ${id} has no identity yet`, {
      field: flag,
      remedy: `wait until it has: weir endpoint get ${id}`,
    });
  }
  const labels = canonicalLabels((identity.labels ?? []).map((label) => parseLabel(label)));
  return { name, identity: { id: identityId(identity.id), labels }, isEndpoint: true };
}
