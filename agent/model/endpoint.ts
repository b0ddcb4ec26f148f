/** Number of an endpoint, unique on its node: 1 to 65535, so that it fits the key of the policy call map. */
export type EndpointId = number & { readonly __brand: 'EndpointId' };

/** Brands a number that is known to be in 1..65535. */
export const endpointId = (n: number): EndpointId => n as EndpointId;

/** The number of the node itself, where it is an endpoint (`--enable-host-firewall`); no pod gets it. */
export const HOST_ENDPOINT_ID = endpointId(65535);

/** Interface index of a link inside one network namespace. */
export type IfIndex = number & { readonly __brand: 'IfIndex' };

export const ifIndex = (n: number): IfIndex => n as IfIndex;

/**
 * Lifecycle of an endpoint, in the words of the peer's API (`models.EndpointState`), so that its clients can read them.
 */
export type EndpointState =
  | 'waiting-for-identity'
  | 'waiting-to-regenerate'
  | 'regenerating'
  | 'ready'
  | 'not-ready'
  | 'disconnecting'
  | 'disconnected'
  | 'restoring'
  | 'invalid';
