/** What the server knows about each kind of resource, and where it looks them up. */
import type { Json, KubeObject } from './object.ts';
import type { Schema } from './schema/schema.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  readonly format?: string;
  readonly description?: string;
  /** 0 is always shown, more only with `-o wide`. */
  readonly priority: number;
  readonly cell: (object: KubeObject) => unknown;
}

export interface Subresources {
  readonly status: boolean;
  readonly scale?: {
    readonly spec: readonly string[];
    readonly status: readonly string[];
    readonly selector?: readonly string[];
  };
  /** Others, such as `binding` and `eviction` of pods: verbs of each. */
  readonly others?: Readonly<
    Record<
      string,
      { readonly kind: string; readonly verbs: readonly string[]; readonly group?: string; readonly version?: string }
    >
  >;
}

export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly listKind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly subresources: Subresources;
  /** Schema of the object; absent for those that take anything. */
  readonly schema: () => Schema | undefined;
  readonly columns: readonly Column[];
  /** Paths that `fieldSelector` knows besides the name and the namespace. */
  readonly selectable: readonly string[];
  /** Defined by a CustomResourceDefinition. */
  readonly custom: boolean;
  /** Whether `metadata.generation` counts changes outside metadata and status. */
  readonly generation: boolean;
  /** Whether a PUT without a resourceVersion replaces whatever is there. */
  readonly unconditionalUpdate: boolean;
  /** Whether a PUT makes an object that is not there. */
  readonly createOnUpdate: boolean;
  /** Whether DELETE answers with the object, not with a Status. */
  readonly answersDeleted: boolean;
  /** The form in which objects are kept when several versions of a resource share them. */
  readonly stored?: { readonly from: (object: Json) => Json; readonly to: (object: Json) => Json };
}

/** Name of the collection that all versions of a resource share. */
export const collectionOf = (type: Pick<ResourceType, 'group' | 'plural' | 'stored'>): string =>
  type.stored === undefined ? `${type.group}/${type.plural}` : `/${type.plural}`;

export const apiVersionOf = (type: Pick<ResourceType, 'group' | 'version'>): string =>
  type.group === '' ? type.version : `${type.group}/${type.version}`;

/** All resources that are served at present. */
export class Registry {
  readonly #types = new Map<string, ResourceType>();
  /** Grows with every change, so that discovery can be cached. */
  generation = 0;

  add(type: ResourceType): void {
    this.#types.set(`${type.group}/${type.version}/${type.plural}`, type);
    this.generation++;
  }

  remove(group: string, plural: string): void {
    for (const [key, type] of this.#types) {
      if (type.group === group && type.plural === plural) this.#types.delete(key);
    }
    this.generation++;
  }

  find(group: string, version: string, plural: string): ResourceType | undefined {
    return this.#types.get(`${group}/${version}/${plural}`);
  }

  /** Any version of a resource: they share what is stored. */
  byResource(group: string, plural: string): ResourceType | undefined {
    return this.all().find((type) => type.group === group && type.plural === plural);
  }

  byKind(apiVersion: string, kind: string): ResourceType | undefined {
    return this.all().find((type) => apiVersionOf(type) === apiVersion && type.kind === kind);
  }

  all(): ResourceType[] {
    return [...this.#types.values()];
  }

  /** Served versions by group, the preferred one first. */
  groups(): Map<string, string[]> {
    const groups = new Map<string, string[]>();
    for (const { group, version } of this.#types.values()) {
      const versions = groups.get(group) ?? [];
      if (!versions.includes(version)) versions.push(version);
      groups.set(group, versions.sort(byVersionPriority));
    }
    return groups;
  }
}

/** Kubernetes' order of versions: v2 before v1 before v1beta1 before v1alpha1. */
export function byVersionPriority(a: string, b: string): number {
  const [majorA, stageA, minorA] = versionParts(a);
  const [majorB, stageB, minorB] = versionParts(b);
  return stageB - stageA || majorB - majorA || minorB - minorA;
}

function versionParts(version: string): [major: number, stage: number, minor: number] {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
  if (match === null) return [0, -1, 0];
  return [Number(match[1]), match[2] === undefined ? 2 : match[2] === 'beta' ? 1 : 0, Number(match[3] ?? 0)];
}
