import type { Direction } from '../../model/mapstate.ts';

/** What a stanza's decoders have to know of the rule around them. */
export interface Scope {
  /** Namespace of the policy; empty for clusterwide kinds. */
  readonly namespace: string;
  /** The subject names `reserved:init`: pods that have no labels yet, and so no namespace. */
  readonly subjectIsInit: boolean;
  /** The subject is a node. */
  readonly hostPolicy: boolean;
  readonly direction: Direction;
  readonly action: 'allow' | 'deny';
}

/** Where nothing around a field matters. */
export const NO_SCOPE: Scope = {
  namespace: '',
  subjectIsInit: false,
  hostPolicy: false,
  direction: 'ingress',
  action: 'allow',
};
