/** CustomResourceDefinitions: what they define, and when they are refused. */
import { JSONPath } from 'jsonpath-plus';
import { VERBS } from './builtin-types.ts';
import { NAME_COLUMN } from './columns.ts';
import { ageOf } from './human-duration.ts';
import { required, wrong } from './kinds/names.ts';
import { isObject, listAt, textAt, timestamp, valueAt, type Json, type KubeObject } from './object.ts';
import type { Column, Registry, ResourceType } from './resource-type.ts';
import type { Schema } from './schema/schema.ts';
import type { StatusCause } from './status.ts';

export const CRD_GROUP = 'apiextensions.k8s.io';
export const CRDS = 'customresourcedefinitions';

/** Fills in what a definition leaves out, in place. */
export function defaultDefinition(crd: KubeObject): void {
  const spec = crd['spec'];
  if (!isObject(spec)) return;
  const names = spec['names'];
  if (isObject(names) && typeof names['kind'] === 'string') {
    names['singular'] ??= names['kind'].toLowerCase();
    names['listKind'] ??= `${names['kind']}List`;
  }
  spec['conversion'] ??= { strategy: 'None' };
}

/** What is wrong with a definition. */
export function definitionViolations(crd: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const found: StatusCause[] = [];
  const group = textAt(crd, 'spec', 'group');
  const plural = textAt(crd, 'spec', 'names', 'plural');
  for (const field of ['plural', 'kind'])
    if (textAt(crd, 'spec', 'names', field) === '') found.push(required(`spec.names.${field}`));
  if (group === '') found.push(required('spec.group'));
  if (crd.metadata.name !== `${plural}.${group}`)
    found.push(wrong('metadata.name', crd.metadata.name, 'must be spec.names.plural+"."+spec.group'));
  const scope = textAt(crd, 'spec', 'scope');
  if (!['Namespaced', 'Cluster'].includes(scope))
    found.push({
      reason: 'FieldValueNotSupported',
      field: 'spec.scope',
      message: `Unsupported value: "${scope}": supported values: "Cluster", "Namespaced"`,
    });
  const versions = listAt(crd, 'spec', 'versions');
  if (versions.filter((version) => valueAt(version, ['storage']) === true).length !== 1)
    found.push(wrong('spec.versions', versions.length, 'must have exactly one version marked as storage version'));
  for (const [i, version] of versions.entries()) found.push(...versionViolations(version, `spec.versions[${i}]`));
  if (old !== undefined) {
    for (const path of [['group'], ['scope'], ['names', 'plural'], ['names', 'kind']]) {
      if (textAt(old, 'spec', ...path) !== textAt(crd, 'spec', ...path))
        found.push(wrong(`spec.${path.join('.')}`, textAt(crd, 'spec', ...path), 'field is immutable'));
    }
    const kept = new Set(versions.map((version) => textAt(version, 'name')));
    for (const stored of listAt(old, 'status', 'storedVersions'))
      if (!kept.has(String(stored)))
        found.push(wrong('status.storedVersions[0]', stored, 'must appear in spec.versions'));
  }
  return found;
}

function versionViolations(version: unknown, path: string): StatusCause[] {
  const schema = valueAt(version, ['schema', 'openAPIV3Schema']);
  if (!isObject(schema)) return [required(`${path}.schema.openAPIV3Schema`, 'schemas are required')];
  const root = `${path}.schema.openAPIV3Schema`;
  const found =
    schema['type'] === 'object' ? [] : [wrong(`${root}.type`, schema['type'] ?? '', 'must be object at the root')];
  return [...found, ...structuralViolations(schema, root, true)];
}

/** A schema must be structural: types everywhere outside of logical junctors, and no pruning that cannot be decided. */
function structuralViolations(schema: Schema, path: string, top = false): StatusCause[] {
  const found: StatusCause[] = [];
  const untyped =
    schema.type === undefined &&
    schema['x-kubernetes-int-or-string'] !== true &&
    schema['x-kubernetes-preserve-unknown-fields'] !== true;
  if (untyped && !top) found.push(required(`${path}.type`, 'must not be empty for specified object fields'));
  if (schema.type === 'array' && schema.items === undefined) found.push(required(`${path}.items`, 'must be specified'));
  if (schema.properties !== undefined && schema.additionalProperties !== undefined)
    found.push({
      reason: 'FieldValueForbidden',
      field: `${path}.additionalProperties`,
      message: 'Forbidden: additionalProperties and properties are mutual exclusive',
    });
  if (schema.additionalProperties === false)
    found.push({
      reason: 'FieldValueForbidden',
      field: `${path}.additionalProperties`,
      message: 'Forbidden: must not be used',
    });
  if (schema.uniqueItems === true)
    found.push({
      reason: 'FieldValueForbidden',
      field: `${path}.uniqueItems`,
      message: 'Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic',
    });
  if (schema['x-kubernetes-list-type'] === 'map' && (schema['x-kubernetes-list-map-keys'] ?? []).length === 0)
    found.push(required(`${path}.x-kubernetes-list-map-keys`, 'must not be empty if x-kubernetes-list-type is map'));
  for (const part of [
    ...(schema.allOf ?? []),
    ...(schema.anyOf ?? []),
    ...(schema.oneOf ?? []),
    ...(schema.not === undefined ? [] : [schema.not]),
  ])
    found.push(...junctorViolations(part, path));
  for (const [field, inner] of Object.entries(schema.properties ?? {})) {
    const embedded = top && ['metadata', 'apiVersion', 'kind'].includes(field);
    if (!embedded) found.push(...structuralViolations(inner, `${path}.properties[${field}]`));
  }
  if (schema.items !== undefined) found.push(...structuralViolations(schema.items, `${path}.items`));
  if (isObject(schema.additionalProperties))
    found.push(...structuralViolations(schema.additionalProperties, `${path}.additionalProperties`));
  found.push(...uncompilablePattern(schema, path));
  return found;
}

function junctorViolations(schema: Schema, path: string): StatusCause[] {
  const forbidden = [
    'description',
    'default',
    'nullable',
    'additionalProperties',
    'x-kubernetes-preserve-unknown-fields',
  ] as const;
  const inner = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.items === undefined ? [] : [schema.items]),
    ...(schema.allOf ?? []),
    ...(schema.anyOf ?? []),
    ...(schema.oneOf ?? []),
    ...(schema.not === undefined ? [] : [schema.not]),
  ];
  return [
    ...forbidden
      .filter((field) => schema[field] !== undefined)
      .map((field) => ({
        reason: 'FieldValueForbidden',
        field: `${path}.${field}`,
        message: 'Forbidden: must be undefined to be structural',
      })),
    ...inner.flatMap((part) => junctorViolations(part, path)),
  ];
}

function uncompilablePattern({ pattern }: Schema, path: string): StatusCause[] {
  if (pattern === undefined) return [];
  try {
    new RegExp(pattern, 'u');
    return [];
  } catch (error) {
    return [wrong(`${path}.pattern`, pattern, error instanceof Error ? error.message : String(error))];
  }
}

/** Status of a definition that is served: names accepted, established, versions that have been stored. */
export function withDefinitionStatus(crd: KubeObject, registry: Registry): KubeObject {
  const clash = clashingName(crd, registry);
  const stored = new Set(listAt(crd, 'status', 'storedVersions'));
  for (const version of listAt(crd, 'spec', 'versions'))
    if (valueAt(version, ['storage']) === true) stored.add(textAt(version, 'name'));
  const established = listAt(crd, 'status', 'conditions').find(
    (condition) => textAt(condition, 'type') === 'Established' && textAt(condition, 'status') === 'True',
  );
  const condition = (type: string, good: boolean, reason: string, message: string): Json => ({
    type,
    status: good ? 'True' : 'False',
    reason,
    message,
    lastTransitionTime: textAt(established, 'lastTransitionTime') || timestamp(),
  });
  return {
    ...crd,
    status: {
      conditions: [
        condition(
          'NamesAccepted',
          clash === undefined,
          clash === undefined ? 'NoConflicts' : 'NameConflict',
          clash ?? 'no conflicts found',
        ),
        condition(
          'Established',
          clash === undefined,
          clash === undefined ? 'InitialNamesAccepted' : 'NotAccepted',
          clash === undefined ? 'the initial names have been accepted' : 'not all names are accepted',
        ),
      ],
      acceptedNames: clash === undefined ? valueAt(crd, ['spec', 'names']) : { plural: '', kind: '' },
      storedVersions: [...stored],
    },
  };
}

function clashingName(crd: KubeObject, registry: Registry): string | undefined {
  const group = textAt(crd, 'spec', 'group');
  const plural = textAt(crd, 'spec', 'names', 'plural');
  const names = [
    plural,
    textAt(crd, 'spec', 'names', 'singular'),
    ...listAt(crd, 'spec', 'names', 'shortNames').map(String),
  ];
  for (const other of registry.all()) {
    if (other.group !== group || other.plural === plural) continue;
    const taken = names.find((name) => [other.plural, other.singular, ...other.shortNames].includes(name));
    if (taken !== undefined) return `"${taken}" is already in use`;
    if (other.kind === textAt(crd, 'spec', 'names', 'kind')) return `"${other.kind}" is already in use`;
  }
  return undefined;
}

export function isEstablished(crd: KubeObject): boolean {
  return listAt(crd, 'status', 'conditions').some(
    (condition) => textAt(condition, 'type') === 'Established' && textAt(condition, 'status') === 'True',
  );
}

/** The resources that a definition serves, one a version. */
export function customTypes(crd: KubeObject): ResourceType[] {
  return listAt(crd, 'spec', 'versions')
    .filter((version) => valueAt(version, ['served']) === true)
    .map((version) => customType(crd, version));
}

function customType(crd: KubeObject, version: unknown): ResourceType {
  const name = (field: string): string => textAt(crd, 'spec', 'names', field);
  const strings = (field: string): string[] => listAt(crd, 'spec', 'names', field).map(String);
  const schema = valueAt(version, ['schema', 'openAPIV3Schema']) as Schema;
  const scale = valueAt(version, ['subresources', 'scale']);
  const path = (field: string): string[] =>
    textAt(scale, field)
      .split('.')
      .filter((part) => part !== '');
  return {
    group: textAt(crd, 'spec', 'group'),
    version: textAt(version, 'name'),
    kind: name('kind'),
    plural: name('plural'),
    singular: name('singular'),
    listKind: name('listKind'),
    shortNames: strings('shortNames'),
    categories: strings('categories'),
    namespaced: textAt(crd, 'spec', 'scope') === 'Namespaced',
    verbs: VERBS,
    subresources: {
      status: isObject(valueAt(version, ['subresources', 'status'])),
      ...(isObject(scale) && {
        scale: {
          spec: path('specReplicasPath'),
          status: path('statusReplicasPath'),
          selector: path('labelSelectorPath'),
        },
      }),
    },
    schema: () => schema,
    columns: columnsOf(version),
    selectable: listAt(version, 'selectableFields').map((field) => textAt(field, 'jsonPath').slice(1)),
    custom: true,
    generation: true,
    unconditionalUpdate: false,
    createOnUpdate: false,
    answersDeleted: false,
  };
}

function columnsOf(version: unknown): Column[] {
  const defined = listAt(version, 'additionalPrinterColumns');
  if (defined.length === 0)
    return [
      NAME_COLUMN,
      { name: 'Age', type: 'date', priority: 0, cell: (object) => ageOf(object.metadata.creationTimestamp) },
    ];
  return [NAME_COLUMN, ...defined.map(columnOf)];
}

function columnOf(definition: unknown): Column {
  const type = textAt(definition, 'type') as Column['type'];
  const path = textAt(definition, 'jsonPath');
  const priority = valueAt(definition, ['priority']);
  return {
    name: textAt(definition, 'name'),
    type,
    format: textAt(definition, 'format'),
    description: textAt(definition, 'description'),
    priority: typeof priority === 'number' ? priority : 0,
    cell: (object) => cell(type, valueByPath(object, path)),
  };
}

/** First value of a JSONPath as Kubernetes writes it: `.status.conditions[?(@.type=="Ready")].status`. */
function valueByPath(object: KubeObject, path: string): unknown {
  if (/^(\.[A-Za-z0-9_-]+)+$/.test(path)) return valueAt(object, path.slice(1).split('.'));
  const escaped = path.replaceAll(
    /\.((?:[^.[\]\\]|\\\.)*\\\.(?:[^.[\]\\]|\\\.)*)/g,
    (_, name: string) => `['${name.replaceAll('\\.', '.')}']`,
  );
  const found: unknown = JSONPath({ path: `$${escaped}`, json: object, eval: 'safe' });
  return Array.isArray(found) ? (found as readonly unknown[])[0] : undefined;
}

function cell(type: Column['type'], value: unknown): unknown {
  if (value === undefined || value === null) return null;
  switch (type) {
    case 'date':
      return typeof value === 'string' ? ageOf(value) : null;
    case 'integer':
    case 'number':
      return typeof value === 'number' ? value : null;
    case 'boolean':
      return typeof value === 'boolean' ? value : null;
    case 'string':
      return typeof value === 'string' ? value : JSON.stringify(value);
  }
}
