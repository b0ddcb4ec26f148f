/** The verbs that write: what becomes of an object on its way into the store. */
import { randomUUID } from 'node:crypto';
import { builtinViolations } from './kinds/checks.ts';
import { applyBuiltinDefaults } from './kinds/defaults.ts';
import { resetStatus } from './kinds/initial-status.ts';
import { annotationViolations, labelViolations, nameViolations, required } from './kinds/names.ts';
import { trackUpdate } from './managed-fields.ts';
import { deepCopy, deepEqual, isObject, keyOf, textAt, timestamp, type Json, type KubeObject } from './object.ts';
import { apiVersionOf, collectionOf, type ResourceType } from './resource-type.ts';
import { applyDefaults, dropNulls, prune } from './schema/schema.ts';
import { ruleViolations } from './schema/rules.ts';
import { validate } from './schema/validate.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  forbidden,
  invalid,
  notFound,
  STALE_WRITE,
  type StatusCause,
} from './status.ts';
import type { Store } from './store.ts';

export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore';
  readonly subresource: string;
  /** Collects what the answer warns of. */
  readonly warnings: string[];
}

/** What else happens on a write: admission, allocation, registration. Throws to refuse. */
export interface Hooks {
  readonly admit: (type: ResourceType, object: KubeObject, old: KubeObject | undefined, options: WriteOptions) => void;
}

/** Metadata that only the server writes. */
const SERVER_OWNED = [
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generation',
  'selfLink',
] as const;

export class Rest {
  readonly #store: Store;
  readonly #hooks: Hooks;

  constructor(store: Store, hooks: Hooks) {
    this.#store = store;
    this.#hooks = hooks;
  }

  /** The object in the form of the version asked for; throws NotFound. */
  get(type: ResourceType, namespace: string, name: string, revision = Infinity): KubeObject {
    const found = this.find(type, namespace, name, revision);
    if (found === undefined) throw notFound(type, name);
    return found;
  }

  find(type: ResourceType, namespace: string, name: string, revision = Infinity): KubeObject | undefined {
    const stored = this.#store.collection(collectionOf(type)).get(keyOf(namespace, name), revision);
    return stored === undefined ? undefined : inVersion(type, stored);
  }

  create(type: ResourceType, namespace: string, body: unknown, options: WriteOptions, tracked = false): KubeObject {
    const object = this.#read(type, namespace, body, options);
    const { metadata } = object;
    if ((metadata.resourceVersion as string | undefined) !== undefined && metadata.resourceVersion !== '')
      throw badRequest('resourceVersion should not be set on objects to be created');
    for (const field of SERVER_OWNED) Reflect.deleteProperty(metadata, field);
    if (((metadata.name as string | undefined) ?? '') === '' && (metadata.generateName ?? '') !== '')
      metadata.name = `${metadata.generateName!.slice(0, 58)}${randomUUID().replaceAll('-', '').slice(0, 5)}`;
    metadata.uid = randomUUID();
    metadata.creationTimestamp = timestamp();
    if (type.generation) metadata.generation = 1;
    if (type.subresources.status) resetStatus(type.group, object);
    if (!type.custom) applyBuiltinDefaults(type.group, object);
    this.#hooks.admit(type, object, undefined, options);
    this.#check(type, object, undefined);
    if (this.find(type, namespace, metadata.name) !== undefined) throw alreadyExists(type, metadata.name);
    if (!tracked) {
      delete metadata.managedFields;
      trackUpdate(type, undefined, object, options);
    }
    return this.#write(type, object, options);
  }

  /** Replaces an object, or its status alone. `old` is what a patch was made of. */
  update(
    type: ResourceType,
    namespace: string,
    name: string,
    body: unknown,
    options: WriteOptions,
    tracked = false,
  ): KubeObject {
    const object = this.#read(type, namespace, body, options);
    if (((object.metadata.name as string | undefined) ?? '') === '')
      throw badRequest('the name of the object (based on the body) is empty');
    if (object.metadata.name !== name)
      throw badRequest(`the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`);
    const old = this.find(type, namespace, name);
    if (old === undefined) {
      if (type.createOnUpdate && options.subresource === '')
        return this.create(
          type,
          namespace,
          { ...object, metadata: { ...object.metadata, resourceVersion: undefined } },
          options,
        );
      throw notFound(type, name);
    }
    checkPreconditions(type, object, old);
    const merged = options.subresource === 'status' ? withStatusOf(old, object) : withoutStatusOf(type, old, object);
    keepServerOwned(merged, old);
    if (type.generation && changedOutsideStatus(type, merged, old))
      merged.metadata.generation = (old.metadata.generation ?? 0) + 1;
    if (!type.custom) applyBuiltinDefaults(type.group, merged);
    this.#hooks.admit(type, merged, old, options);
    this.#check(type, merged, old);
    if (!tracked) trackUpdate(type, old, merged, options);
    if (isReleased(merged)) return this.#remove(type, merged, options);
    return this.#write(type, merged, options);
  }

  /** Writes an object as it is: for controllers of the server itself. */
  put(type: ResourceType, object: KubeObject): KubeObject {
    return this.#write(type, object);
  }

  remove(type: ResourceType, object: KubeObject): KubeObject {
    return this.#remove(type, object);
  }

  #write(type: ResourceType, object: KubeObject, options?: WriteOptions): KubeObject {
    if (options?.dryRun === true) return object;
    return inVersion(
      type,
      this.#store.put(collectionOf(type), type.stored === undefined ? object : (type.stored.to(object) as KubeObject)),
    );
  }

  #remove(type: ResourceType, object: KubeObject, options?: WriteOptions): KubeObject {
    if (options?.dryRun === true) return object;
    const { namespace, name } = object.metadata;
    // What the last update changed is part of what watchers are told is gone.
    const removed = this.#store.delete(collectionOf(type), namespace, name);
    if (removed === undefined) throw notFound(type, name);
    return inVersion(type, removed);
  }

  /** A body as an object of its kind, with what the schema does not know removed or refused. */
  #read(type: ResourceType, namespace: string, body: unknown, options: WriteOptions): KubeObject {
    if (!isObject(body))
      throw badRequest(
        `couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct`,
      );
    const object = deepCopy(body) as KubeObject;
    if ((object.kind as string | undefined) === undefined || object.kind === '') object.kind = type.kind;
    if ((object.apiVersion as string | undefined) === undefined || object.apiVersion === '')
      object.apiVersion = apiVersionOf(type);
    if (object.kind !== type.kind || object.apiVersion !== apiVersionOf(type))
      throw badRequest(
        `${object.kind} in version "${object.apiVersion}" cannot be handled as a ${type.kind}: the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersionOf(type)})`,
      );
    if (!isObject(object.metadata)) object.metadata = {} as KubeObject['metadata'];
    else
      for (const [field, value] of Object.entries(object.metadata))
        if (value === null) Reflect.deleteProperty(object.metadata, field);
    readNamespace(type, namespace, object);
    this.#conform(type, object, options);
    return object;
  }

  #conform(type: ResourceType, object: KubeObject, options: WriteOptions): void {
    const schema = type.schema();
    if (schema === undefined) return;
    if (!type.custom) dropNulls(object);
    const unknown = prune(object, schema);
    if (unknown.length > 0 && options.fieldValidation === 'Strict')
      throw badRequest(
        `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: strict decoding error: ${unknown.map((field) => `unknown field "${field}"`).join(', ')}`,
      );
    if (options.fieldValidation === 'Warn')
      options.warnings.push(...unknown.map((field) => `unknown field "${field}"`));
    if (type.custom) {
      applyDefaults(object, schema);
      return;
    }
    const [wrongType] = validate(object, schema).filter(({ reason }) => reason === 'FieldValueTypeInvalid');
    if (wrongType !== undefined)
      throw badRequest(
        `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: json: cannot unmarshal into Go struct field ${type.kind}.${wrongType.field ?? ''}: ${wrongType.message}`,
      );
  }

  #check(type: ResourceType, object: KubeObject, old: KubeObject | undefined): void {
    const { metadata } = object;
    const found: StatusCause[] = [];
    if (((metadata.name as string | undefined) ?? '') === '')
      found.push(required('metadata.name', 'name or generateName is required'));
    else if (old === undefined) found.push(...nameViolations(type, metadata.name));
    found.push(...labelViolations(metadata.labels, 'metadata.labels'), ...annotationViolations(metadata.annotations));
    found.push(...finalizerViolations(object, old));
    const schema = type.schema();
    if (type.custom && schema !== undefined)
      found.push(...validate(object, schema), ...ruleViolations(object, old, schema));
    if (!type.custom) found.push(...builtinViolations(type.group, object, old));
    if (found.length > 0) throw invalid(type, metadata.name, found);
  }
}

function readNamespace(type: ResourceType, namespace: string, object: KubeObject): void {
  const given = object.metadata.namespace ?? '';
  if (!type.namespaced) {
    Reflect.deleteProperty(object.metadata, 'namespace');
    return;
  }
  if (namespace === '') throw badRequest('an empty namespace may not be set when a resource name is provided');
  if (given !== '' && given !== namespace)
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  object.metadata.namespace = namespace;
}

/** The object as one of its versions shows it: with no conversion but its name, unless the kind has one. */
export function inVersion(type: ResourceType, stored: KubeObject): KubeObject {
  if (type.stored !== undefined) return type.stored.from(stored) as KubeObject;
  const apiVersion = apiVersionOf(type);
  return stored.apiVersion === apiVersion ? stored : { ...stored, apiVersion };
}

function checkPreconditions(type: ResourceType, object: KubeObject, old: KubeObject): void {
  const { name, uid } = object.metadata;
  const version = (object.metadata.resourceVersion as string | undefined) ?? '';
  if ((uid as string | undefined) !== undefined && uid !== '' && uid !== old.metadata.uid)
    throw conflict(
      type,
      name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
    );
  if (version === '' || version === '0') {
    if (type.unconditionalUpdate && !type.custom) return;
    throw invalid(type, name, [
      {
        reason: 'FieldValueInvalid',
        field: 'metadata.resourceVersion',
        message: `Invalid value: ${version === '' ? '0x0' : version}: must be specified for an update`,
      },
    ]);
  }
  if (version !== old.metadata.resourceVersion) throw conflict(type, name, STALE_WRITE);
}

function withStatusOf(old: KubeObject, object: KubeObject): KubeObject {
  const { managedFields } = object.metadata;
  const merged: KubeObject = { ...deepCopy(old), status: object['status'] };
  if (object['status'] === undefined) delete merged['status'];
  if (managedFields !== undefined) merged.metadata.managedFields = managedFields;
  // A kubelet and a node's agent annotate and label with the status; custom resources change nothing but the status.
  if (old.kind === 'Node' || old.kind === 'Pod') {
    if (object.metadata.annotations !== undefined) merged.metadata.annotations = object.metadata.annotations;
    if (object.metadata.labels !== undefined) merged.metadata.labels = object.metadata.labels;
  }
  return merged;
}

function withoutStatusOf(type: ResourceType, old: KubeObject, object: KubeObject): KubeObject {
  if (!type.subresources.status) return object;
  if (old['status'] === undefined) delete object['status'];
  else object['status'] = old['status'];
  return object;
}

function keepServerOwned(object: KubeObject, old: KubeObject): void {
  for (const field of SERVER_OWNED) Reflect.deleteProperty(object.metadata, field);
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation } = old.metadata;
  Object.assign(object.metadata, { uid, creationTimestamp, resourceVersion: old.metadata.resourceVersion });
  if (deletionTimestamp !== undefined)
    Object.assign(object.metadata, { deletionTimestamp, deletionGracePeriodSeconds });
  if (generation !== undefined) object.metadata.generation = generation;
}

function changedOutsideStatus(type: ResourceType, a: KubeObject, b: KubeObject): boolean {
  const relevant = (object: KubeObject): Json => {
    const { metadata: _metadata, status, ...rest } = object;
    return type.subresources.status ? rest : { ...rest, status };
  };
  return !deepEqual(relevant(a), relevant(b));
}

function finalizerViolations(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const finalizers = object.metadata.finalizers ?? [];
  if (old?.metadata.deletionTimestamp === undefined) return [];
  const added = finalizers.filter((finalizer) => !(old.metadata.finalizers ?? []).includes(finalizer));
  if (added.length === 0) return [];
  return [
    {
      reason: 'FieldValueForbidden',
      field: 'metadata.finalizers',
      message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
    },
  ];
}

/** Whether a deletion waited for nothing but the finalizers that are gone now. */
function isReleased({ metadata, kind, ...rest }: KubeObject): boolean {
  if (metadata.deletionTimestamp === undefined || (metadata.finalizers ?? []).length > 0) return false;
  if (kind === 'Namespace')
    return (
      !Array.isArray(rest['spec']) &&
      (isObject(rest['spec']) ? ((rest['spec']['finalizers'] as unknown[] | undefined) ?? []).length === 0 : true)
    );
  return (metadata.deletionGracePeriodSeconds ?? 0) === 0;
}

/** Throws unless the namespace is there and takes new objects. */
export function requireNamespace(type: ResourceType, store: Store, object: KubeObject): void {
  const name = object.metadata.namespace;
  if (name === undefined) return;
  const namespace = store.collection('/namespaces').get(name);
  if (namespace === undefined) throw notFound({ group: '', plural: 'namespaces', kind: 'Namespace' }, name);
  if (namespace.metadata.deletionTimestamp !== undefined || textAt(namespace, 'status', 'phase') === 'Terminating')
    throw forbidden(
      type,
      object.metadata.name,
      `unable to create new content in namespace ${name} because it is being terminated`,
    );
}
