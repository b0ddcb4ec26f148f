/** Kubernetes objects as the agent takes them in, whoever delivers them: an API server or a directory of manifests. */

/** The kinds that the agent watches. */
export const RESOURCE_KINDS = [
  'Namespace',
  'Node',
  'CiliumNode',
  'CiliumIdentity',
  'Pod',
  'CiliumEndpoint',
  'CiliumEndpointSlice',
  'Service',
  'EndpointSlice',
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'CiliumCIDRGroup',
] as const;

export type ResourceKind = (typeof RESOURCE_KINDS)[number];

/** Where a field stands in a text file: 1-based. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One object, undecoded: each consumer validates what it needs. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: ResourceKind;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Whole object as parsed; unknown until a decoder has looked at it. */
  readonly object: Readonly<Record<string, unknown>>;
  /** Where the object came from, when that was a file; `path` is a dotted field path such as `spec.ingress[0]`. */
  readonly positionOf?: (path: string) => SourcePosition | undefined;
}

/** `Kind namespace/name`, as errors name objects. */
export function resourceName(r: Pick<Resource, 'kind' | 'namespace' | 'name'>): string {
  return `${r.kind} ${r.namespace === '' ? '' : `${r.namespace}/`}${r.name}`;
}

export type ResourceEvent =
  | { readonly type: 'upsert'; readonly resource: Resource }
  /** Only kind, namespace and name are certain: a source that missed the deletion itself has no object to show. */
  | { readonly type: 'delete'; readonly resource: Resource }
  /** Everything that existed at the start has been delivered: the consumer may enforce from here on. */
  | { readonly type: 'synced' };

/** What a consumer tells back about an object, for `status` and for the log. */
export interface ResourceStatus {
  readonly resource: Resource;
  readonly accepted: boolean;
  /** One text an error; empty when accepted. */
  readonly errors: readonly string[];
}

/**
 * A stream of resources. Events of one object come in order; an upsert replaces the object whole. `start` resolves after
 * `synced` was delivered. A source that loses its origin keeps silent about deletions until it knows better.
 */
export interface ResourceSource {
  start(onEvent: (event: ResourceEvent) => void): Promise<void>;
  report(status: ResourceStatus): void;
  stop(): Promise<void>;
}
