/** Batches CiliumEndpoints into CiliumEndpointSlices, no faster than allowed: agents watch a hundredth of the objects. */
import { randomBytes } from 'node:crypto';
import type { JsonObject } from '../../agent/k8s/apiserver/client.ts';
import { Reflector } from '../../agent/k8s/apiserver/reflector.ts';
import { errorText } from '../../agent/model/errors.ts';
import type { ResourceEvent } from '../../agent/model/resource.ts';
import type { Duty, DutyContext } from '../duty.ts';
import { deleteVersion, getObject, metaOf, recordOf, recordsOf, textOf } from '../../agent/k8s/apiserver/objects.ts';
import { WorkQueue } from '../work-queue.ts';
import { SliceBook, type Slice, type SliceEndpoint } from './slice-book.ts';

export interface EndpointSlicesOptions {
  /** Most endpoints in a slice. */
  readonly size: number;
  /** Writes a second, and at once. */
  readonly perSecond: number;
  readonly burst: number;
}

const SLICES = '/apis/cilium.io/v2alpha1/ciliumendpointslices';

export class EndpointSlices implements Duty {
  readonly name = 'endpoint-slices';
  readonly #context: DutyContext;
  readonly #options: EndpointSlicesOptions;

  constructor(context: DutyContext, options: EndpointSlicesOptions) {
    this.#context = context;
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    await new Round(this.#context, this.#options).run(signal);
  }
}

/** One time of leading. */
class Round {
  readonly #context: DutyContext;
  readonly #queue: WorkQueue;
  readonly #book: SliceBook;
  /** Endpoints by `namespace/name`, until all of them and all slices are known; undefined from then on. */
  #waiting: Map<string, { readonly namespace: string; readonly endpoint: SliceEndpoint }> | undefined = new Map();
  readonly #dirty = new Set<string>();

  constructor(context: DutyContext, { size, perSecond, burst }: EndpointSlicesOptions) {
    this.#context = context;
    this.#queue = new WorkQueue(context, 'endpoint-slices', { perSecond, burst }, (slice) => this.#write(slice));
    this.#book = new SliceBook(size, newName, (slice) => {
      if (this.#waiting === undefined) this.#queue.add(slice);
      else this.#dirty.add(slice);
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { server, clock, random, logger } = this.#context;
    const reflectors = (['CiliumEndpoint', 'CiliumEndpointSlice'] as const).map(
      (kind) =>
        new Reflector({
          ...{ kind, server, clock, random },
          onEvent: (event) => (kind === 'CiliumEndpoint' ? this.#onEndpoint(event) : this.#onSlice(event)),
          onState: (state) => {
            if (state.phase === 'failing') logger.warn({ kind }, `cannot be followed: ${errorText(state.error)}`);
          },
        }),
    );
    // What is in slices already stays where it is, so nothing is placed before all slices are known.
    void Promise.all(reflectors.map(({ synced }) => synced)).then(() => this.#begin());
    await Promise.all([this.#queue.run(signal), ...reflectors.map((reflector) => reflector.run(signal))]);
  }

  #begin(): void {
    const waiting = this.#waiting ?? new Map<string, never>();
    this.#waiting = undefined;
    this.#book.retain((namespace, name) => waiting.has(`${namespace}/${name}`));
    for (const { namespace, endpoint } of waiting.values()) this.#book.put(namespace, endpoint);
    for (const slice of this.#dirty) this.#queue.add(slice);
    this.#count();
  }

  #onEndpoint(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { namespace, name, object } = event.resource;
    const endpoint = event.type === 'delete' ? undefined : sliceEndpoint(name, object);
    const key = `${namespace}/${name}`;
    if (this.#waiting !== undefined) {
      if (endpoint === undefined) this.#waiting.delete(key);
      else this.#waiting.set(key, { namespace, endpoint });
      return;
    }
    if (endpoint === undefined) this.#book.remove(namespace, name);
    else this.#book.put(namespace, endpoint);
    this.#count();
  }

  #onSlice(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { name, object } = event.resource;
    if (event.type === 'delete') this.#book.lost(name);
    else this.#book.observe(name, textOf(object['namespace']), endpointsOf(object));
  }

  #count(): void {
    this.#context.metrics.sliceEndpoints.set(this.#book.endpoints);
  }

  async #write(name: string): Promise<void> {
    const { server, metrics } = this.#context;
    const path = `${SLICES}/${name}`;
    const there = await getObject(server, path);
    const slice = this.#book.get(name);
    if (slice === undefined) {
      if (there !== undefined && (await deleteVersion(server, path, metaOf(there))))
        metrics.slices.inc({ operation: 'delete' });
    } else if (there === undefined) {
      await server.request({ method: 'POST', path: SLICES, body: objectOf(name, slice) });
      metrics.slices.inc({ operation: 'create' });
    } else {
      const body = { ...objectOf(name, slice), metadata: there['metadata'] };
      await server.request({ method: 'PUT', path, body });
      metrics.slices.inc({ operation: 'update' });
    }
  }
}

const newName = (): string => `ces-${randomBytes(5).toString('hex')}`;

function objectOf(name: string, { namespace, endpoints }: Slice): JsonObject {
  return {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumEndpointSlice',
    metadata: { name },
    namespace,
    endpoints: [...endpoints.values()],
  };
}

/** Undefined while an endpoint has no identity or no address: nobody can use it. */
function sliceEndpoint(name: string, object: JsonObject): SliceEndpoint | undefined {
  const status = recordOf(object['status']);
  const { id } = recordOf(status['identity']);
  const networking = recordOf(status['networking']);
  if (typeof id !== 'number' || id === 0 || recordsOf(networking['addressing']).length === 0) return undefined;
  const optional = Object.fromEntries(
    ['encryption', 'named-ports', 'service-account'].flatMap((field) =>
      status[field] === undefined ? [] : [[field, status[field]]],
    ),
  );
  return { name, id, networking, ...optional };
}

const endpointsOf = (slice: JsonObject): SliceEndpoint[] =>
  recordsOf(slice['endpoints']).flatMap((endpoint) =>
    typeof endpoint['name'] === 'string' ? [endpoint as SliceEndpoint] : [],
  );
