/**
 * Cuts objects of an API server down to what the agent looks at. A node keeps views of tens of thousands of objects, and
 * most of an object is bookkeeping of its writers. What is left of two versions is equal when nothing that matters to the
 * agent has changed, so heartbeats and status reports stop here. Pure.
 */
import type { ResourceKind } from '../../model/resource.ts';
import { isRecord } from '../object-meta.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * What to keep of a value: all of it, fields of a mapping, or the same of every item of a list. Texts of what is `unique`
 * are hardly ever equal to others.
 */
type Shape = true | 'unique' | { readonly [field: string]: Shape };

const CONTAINER: Shape = { name: true, ports: true, restartPolicy: true };

/** Fields besides apiVersion, kind and metadata. Those of policies are not known here: all but `status` is kept. */
const SHAPES: Partial<Readonly<Record<ResourceKind, Shape>>> = {
  Namespace: {},
  Node: { spec: { podCIDR: 'unique', podCIDRs: 'unique' }, status: { addresses: 'unique' } },
  Pod: {
    spec: {
      nodeName: true,
      hostNetwork: true,
      serviceAccountName: true,
      serviceAccount: true,
      containers: CONTAINER,
      initContainers: CONTAINER,
    },
    status: { phase: true, podIP: true, podIPs: true, hostIP: true, hostIPs: true },
  },
  Service: { spec: true, status: { loadBalancer: true } },
  EndpointSlice: { addressType: true, endpoints: true, ports: true },
  CiliumIdentity: { 'security-labels': true },
  // Its labels are those of its identity, which is an object of its own.
  CiliumEndpoint: {
    status: {
      id: true,
      identity: { id: true },
      networking: 'unique',
      encryption: true,
      'named-ports': true,
      'service-account': true,
    },
  },
  CiliumEndpointSlice: { namespace: true, endpoints: 'unique' },
  CiliumNode: { spec: 'unique' },
};

/** Kinds whose labels and annotations nobody reads. */
const BARE_METADATA: ReadonlySet<ResourceKind> = new Set(['CiliumEndpoint', 'CiliumEndpointSlice']);

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** `object` without what the agent does not read. Its texts are shared through `interner`. */
export function slim(kind: ResourceKind, object: Json, interner: Interner): Json {
  const { apiVersion, metadata, ...rest } = object;
  const shape = SHAPES[kind];
  const body = shape === undefined ? withoutStatus(rest) : keep(rest, shape, interner);
  return {
    ...(apiVersion !== undefined && { apiVersion }),
    kind,
    metadata: slimMetadata(kind, metadata, interner),
    ...(body as Json),
  };
}

function slimMetadata(kind: ResourceKind, metadata: unknown, interner: Interner): unknown {
  if (!isRecord(metadata)) return metadata;
  const { name, namespace, uid, labels, annotations, deletionTimestamp, generation } = metadata;
  const bare = BARE_METADATA.has(kind);
  return {
    name,
    ...(namespace !== undefined && { namespace: interner.share(namespace) }),
    ...(uid !== undefined && { uid }),
    ...(isFilled(labels) && !bare && { labels: interner.share(labels) }),
    ...(isFilled(annotations) && !bare && slimAnnotations(annotations)),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
    ...(generation !== undefined && !(kind in SHAPES) && { generation }),
  };
}

function slimAnnotations(annotations: Json): { annotations?: Json } {
  const kept = Object.entries(annotations).filter(([key]) => key !== LAST_APPLIED);
  return kept.length === 0 ? {} : { annotations: Object.fromEntries(kept) };
}

function withoutStatus({ status: _, ...rest }: Json): Json {
  return rest;
}

function keep(value: unknown, shape: Shape, interner: Interner): unknown {
  if (shape === true) return interner.share(value);
  if (shape === 'unique') return value;
  if (Array.isArray(value)) return value.map((item) => keep(item, shape, interner));
  if (!isRecord(value)) return value;
  const kept: Record<string, unknown> = {};
  for (const field in shape) {
    const part = value[field];
    if (part === undefined || part === null) continue;
    const slimmed = keep(part, shape[field]!, interner);
    // A mapping of which nothing is left says no more than one that is not there.
    if (shape[field] === true || !isRecord(slimmed) || isFilled(slimmed)) kept[field] = slimmed;
  }
  return kept;
}

const isFilled = (value: unknown): value is Json => isRecord(value) && Object.keys(value).length > 0;

/** More texts than this are not of the few that repeat: names, not categories. */
const LIMIT = 65_536;

/** Gives equal short texts one place in memory. */
export class Interner {
  #texts = new Map<string, string>();

  /** The same value, its texts shared. */
  share(value: unknown): unknown {
    if (typeof value === 'string') return this.#text(value);
    if (Array.isArray(value)) return value.map((item) => this.share(item));
    if (!isRecord(value)) return value;
    const shared: Record<string, unknown> = {};
    for (const key in value) shared[key] = this.share(value[key]);
    return shared;
  }

  #text(text: string): string {
    if (text.length > 128) return text;
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    // Forgetting costs memory only: what is in use stays, and is shared anew.
    if (this.#texts.size >= LIMIT) this.#texts = new Map();
    this.#texts.set(text, text);
    return text;
  }
}
