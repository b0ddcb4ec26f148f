import type { Labels } from './endpoint.ts';

/** A security identity. */
export interface Identity {
  readonly id?: number;
  readonly labels?: Labels;
  readonly labelsSHA256?: string;
}

/** One of `GET /v1/identity/endpoints`. */
export interface IdentityEndpoints {
  readonly identity?: Identity;
  readonly refCount?: number;
}

/** Answer of `GET /v1/policy`. */
export interface Policy {
  readonly revision?: number;
  /** JSON text of the rules in force. */
  readonly policy?: string;
}

/** Answer of `GET /v1/policy/selectors`. */
export type SelectorCache = readonly SelectorIdentityMapping[];

export interface SelectorIdentityMapping {
  readonly selector?: string;
  readonly identities?: readonly number[];
  /** Number of users of the selector. */
  readonly users?: number;
  /** Labels of the policies that use it. */
  readonly labels?: readonly LabelModel[];
}

export interface LabelModel {
  readonly key?: string;
  readonly value?: string;
  readonly source?: string;
}

/** One of `GET /v1/ip`. */
export interface IPListEntry {
  readonly cidr: string;
  readonly identity: number;
  readonly hostIP?: string;
  readonly encryptKey?: number;
  readonly metadata?: IPListEntryMetadata;
}

export interface IPListEntryMetadata {
  /** Where the entry came from: `agent-local`, `custom-resource`, `generated`, `k8s` … */
  readonly source?: string;
  /** Name of the pod. */
  readonly name?: string;
  readonly namespace?: string;
}
