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

/** Weir: what `GET /v1/policy/explain` asks: a packet as the subject's policy sees it. */
export interface PolicyQuestion {
  readonly direction: 'ingress' | 'egress';
  /** Identity whose policy decides. */
  readonly subject: number;
  /** Identity of the other end. */
  readonly peer: number;
  /** IANA number. */
  readonly protocol: number;
  /** Destination port, or type for ICMP. */
  readonly port: number;
}

/** Weir: answer of `GET /v1/policy/explain`: an explanation of the policy engine (`agent/policy/explain.ts`). */
export interface PolicyExplanation {
  readonly verdict: 'allow' | 'deny' | 'default-deny';
  readonly [more: string]: unknown;
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

/** Policies to try on this node. */
export interface PolicyTrialRequest {
  /** YAML documents of policies. */
  readonly manifest: string;
  /** Until they are taken back, unless somebody confirms. */
  readonly seconds: number;
}

/** Policies on trial on this node; of a trial that ended, those that it was about. */
export interface PolicyTrial {
  readonly policies: readonly string[];
  /** Absent when nothing is on trial. */
  readonly 'expires-at'?: string;
}
