import { addressEquals, parseAddress, type Address } from '../model/address.ts';
import { endpointId, HOST_ENDPOINT_ID, type EndpointId } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { Endpoint } from './endpoint.ts';

const LAST_ID = HOST_ENDPOINT_ID - 1;
/** How many of those that have left are remembered. */
const DEPARTED = 64;

/** The living endpoints of a node, and the numbers that are free. */
export class EndpointIndex {
  readonly #byId = new Map<EndpointId, Endpoint>();
  readonly #byKey = new Map<string, Endpoint>();
  readonly #reserved = new Set<EndpointId>();
  /** Those that left last, oldest first. */
  readonly #departed = new Map<EndpointId, Endpoint>();
  #cursor = 1;

  add(endpoint: Endpoint): void {
    this.#byId.set(endpoint.id, endpoint);
    this.#byKey.set(endpoint.key, endpoint);
  }

  delete(endpoint: Endpoint): void {
    if (this.#byId.get(endpoint.id) === endpoint) {
      this.#byId.delete(endpoint.id);
      this.#departed.set(endpoint.id, endpoint);
      if (this.#departed.size > DEPARTED) this.#departed.delete(this.#departed.keys().next().value!);
    }
    if (this.#byKey.get(endpoint.key) === endpoint) this.#byKey.delete(endpoint.key);
  }

  /** Ascending by number. */
  list(): Endpoint[] {
    return [...this.#byId.values()].sort((a, b) => a.id - b.id);
  }

  byId(id: EndpointId): Endpoint | undefined {
    return this.#byId.get(id);
  }

  /** The same, or who had the number lately: events may speak of an endpoint that has left. */
  byIdLately(id: EndpointId): Endpoint | undefined {
    return this.#byId.get(id) ?? this.#departed.get(id);
  }

  byKey(key: string): Endpoint | undefined {
    return this.#byKey.get(key);
  }

  byAddress(address: Address): Endpoint | undefined {
    return this.list().find((endpoint) => endpoint.addresses.some((own) => addressEquals(own, address)));
  }

  /** Keeps a number out of use until the next start. */
  reserve(id: EndpointId): void {
    this.#reserved.add(id);
  }

  /**
   * A number that is free, each in its turn: what still refers to a freed one has time to go away.
   *
   * @throws WeirError ENDPOINT_STATE when all are taken.
   */
  nextId(): EndpointId {
    for (let tried = 0; tried < LAST_ID; tried++) {
      const id = endpointId(this.#cursor);
      this.#cursor = this.#cursor === LAST_ID ? 1 : this.#cursor + 1;
      if (!this.#byId.has(id) && !this.#reserved.has(id)) return id;
    }
    throw new WeirError('ENDPOINT_STATE', `all ${LAST_ID} endpoint numbers are taken`);
  }

  /**
   * The endpoint that `text` names: a number, or one of `cilium-local:`, `cni-attachment-id:`, `container-id:`,
   * `container-name:`, `cep-name:`, `pod-name:`, `ipv4:`, `ipv6:` and what belongs to it.
   *
   * @throws WeirError REQUEST_INVALID, ENDPOINT_NOT_FOUND
   */
  find(text: string): Endpoint {
    const found = this.list().filter(matcher(text));
    if (found.length === 1) return found[0]!;
    if (found.length === 0)
      throw new WeirError('ENDPOINT_NOT_FOUND', 'no such endpoint', { object: `endpoint ${text}` });
    throw new WeirError('REQUEST_INVALID', `names ${found.length} endpoints`, {
      object: `endpoint ${text}`,
      field: 'id',
      remedy: 'use cni-attachment-id:<container>:<interface>, or the number of the endpoint',
    });
  }
}

function matcher(text: string): (endpoint: Endpoint) => boolean {
  const colon = text.indexOf(':');
  const prefix = colon < 0 ? 'cilium-local' : text.slice(0, colon);
  const id = text.slice(colon + 1);
  switch (prefix) {
    case 'cilium-local':
      if (!/^[1-9]\d*$/.test(id)) break;
      return (endpoint) => endpoint.id === Number(id);
    case 'cni-attachment-id':
      return (endpoint) => endpoint.key === id;
    case 'container-id':
      return (endpoint) => endpoint.attachment.containerId === id;
    case 'container-name':
      return (endpoint) => endpoint.attachment.containerName === id;
    case 'cep-name':
    case 'pod-name':
      // Older clients write namespace:name.
      return (endpoint) => endpoint.podName === id || endpoint.podName?.replace('/', ':') === id;
    case 'ipv4':
    case 'ipv6':
      return addressMatcher(prefix, parseAddress(id));
  }
  throw new WeirError('REQUEST_INVALID', `${JSON.stringify(text)} does not name an endpoint`, {
    field: 'id',
    remedy: 'use a number, or a prefix such as cni-attachment-id:, container-id: or pod-name:',
  });
}

function addressMatcher(family: 'ipv4' | 'ipv6', wanted: Address): (endpoint: Endpoint) => boolean {
  return ({ addressing }) => {
    const address = addressing[family];
    return address !== undefined && addressEquals(address, wanted);
  };
}
