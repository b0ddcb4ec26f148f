/** Addresses of one endpoint. */
export interface AddressPair {
  readonly ipv4?: string;
  readonly 'ipv4-expiration-uuid'?: string;
  readonly 'ipv4-pool-name'?: string;
  readonly ipv6?: string;
  readonly 'ipv6-expiration-uuid'?: string;
  readonly 'ipv6-pool-name'?: string;
}

export interface NodeAddressing {
  readonly ipv4?: NodeAddressingElement;
  readonly ipv6?: NodeAddressingElement;
}

export interface NodeAddressingElement {
  readonly enabled?: boolean;
  /** The router's address. */
  readonly ip?: string;
  /** Pod CIDR. */
  readonly 'alloc-range'?: string;
  readonly 'address-type'?: string;
}

/** Answer of `POST /v1/ipam`. */
export interface IPAMResponse {
  readonly address: AddressPair;
  readonly ipv4?: IPAMAddressResponse;
  readonly ipv6?: IPAMAddressResponse;
  readonly 'host-addressing': NodeAddressing;
}

export interface IPAMAddressResponse {
  readonly ip?: string;
  readonly gateway?: string;
  readonly cidrs?: readonly string[];
  readonly 'master-mac'?: string;
  readonly 'expiration-uuid'?: string;
  readonly 'interface-number'?: string;
}

export interface IPAMStatus {
  /** Address → owner. */
  readonly allocations?: Readonly<Record<string, string>>;
  readonly ipv4?: readonly string[];
  readonly ipv6?: readonly string[];
  readonly status?: string;
}
