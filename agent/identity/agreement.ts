import type { Identity } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';

/** Where the nodes of a cluster agree which number a label set has. */
export interface IdentityAgreement {
  /**
   * The one identity that the whole cluster has for `labels`; made when there is none yet.
   *
   * @param preferred the number to give it, if it is free and the labels have none
   * @throws WeirError IDENTITY_EXHAUSTED, KUBERNETES_UNREACHABLE, KUBERNETES_REFUSED, KVSTORE_UNREACHABLE, KVSTORE_REFUSED
   */
  agree(labels: readonly Label[], preferred?: Identity['id']): Promise<Identity>;
  /**
   * Whether an identity that was agreed on may be used anew. One that is about to be collected is saved from that first.
   *
   * @throws as {@link agree}
   */
  reuse(identity: Identity): Promise<boolean>;
}
