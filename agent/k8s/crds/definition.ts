/** A CustomResourceDefinition of a kind of the group cilium.io. */
import { object, type Schema } from './schema.ts';

export const CILIUM_GROUP = 'cilium.io';

/** Says which generation of Weir's schemas a definition in a cluster has: operators upgrade it, and never downgrade it. */
export const SCHEMA_VERSION_LABEL = 'weir.io/crd-schema-version';

/** To be raised with every change of a schema: `hack/crds.ts --check` knows when. */
export const SCHEMA_VERSION = 1;

export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  /** Above 0: with `-o wide` only. */
  readonly priority?: number;
}

export interface DefinedVersion {
  readonly name: string;
  readonly schema: Schema;
  readonly columns: readonly PrinterColumn[];
  readonly status: boolean;
  /** Served for the sake of older manifests. */
  readonly deprecated?: true;
}

export interface Definition {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** The first is stored. */
  readonly versions: readonly DefinedVersion[];
}

/** An object of apiextensions.k8s.io/v1, as kubectl and clients take it. */
export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>>;
}

export const AGE: PrinterColumn = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'Time since the object was made',
};

/** Schema of a whole object: what every object has, and what this kind has beside it. */
export function kindSchema(
  description: string,
  properties: Readonly<Record<string, Schema>>,
  more: Omit<Schema, 'type' | 'properties' | 'description' | 'items' | 'additionalProperties'> = {},
): Schema {
  const every = {
    apiVersion: { type: 'string', description: 'Group and version of the schema that the object follows.' },
    kind: { type: 'string', description: 'Kind of the object.' },
    metadata: { type: 'object' },
  } as const;
  return object(description, { ...every, ...properties }, more);
}

export function customResourceDefinition({
  kind,
  plural,
  shortNames,
  categories,
  namespaced,
  versions,
}: Definition): CustomResourceDefinition {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${CILIUM_GROUP}`, labels: { [SCHEMA_VERSION_LABEL]: String(SCHEMA_VERSION) } },
    spec: {
      group: CILIUM_GROUP,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        ...(shortNames.length > 0 && { shortNames }),
        ...(categories.length > 0 && { categories }),
      },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: versions.map((version, i) => ({
        name: version.name,
        served: true,
        storage: i === 0,
        ...(version.deprecated && { deprecated: true }),
        schema: { openAPIV3Schema: version.schema },
        ...(version.status && { subresources: { status: {} } }),
        ...(version.columns.length > 0 && { additionalPrinterColumns: version.columns }),
      })),
    },
  };
}
