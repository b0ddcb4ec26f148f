import { formatAddress, type Address } from '../../model/address.ts';
import { endpointId, ifIndex, type EndpointId, type IfIndex } from '../../model/endpoint.ts';
import { identityId, type IdentityId } from '../../model/identity.ts';
import { formatMac, type Mac } from '../../model/mac.ts';
import { ENDPOINT_HOST } from '../../../bpf/gen/constants.ts';
import { decode, encode, endpointInfo, endpointKey } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { addressFromField, type DescribeEntry } from './dump.ts';

/** How a packet for a local address is delivered. */
export interface LocalDelivery {
  readonly id: EndpointId;
  readonly identity: IdentityId;
  /** Host end of the veth pair. */
  readonly ifIndex: IfIndex;
  readonly mac: Mac;
  readonly hostMac: Mac;
  /** An address of the node itself: the host's stack takes it. */
  readonly host: boolean;
}

export function encodeLxcKey(address: Address): Uint8Array {
  return encode(endpointKey, { addr: address.bytes, family: address.family });
}

export function decodeLxcKey(bytes: Uint8Array): Address {
  const { addr, family } = decode(endpointKey, bytes);
  return addressFromField(addr, family);
}

export function encodeLxcValue(delivery: LocalDelivery): Uint8Array {
  return encode(endpointInfo, {
    ifindex: delivery.ifIndex,
    id: delivery.id,
    flags: delivery.host ? ENDPOINT_HOST : 0,
    mac: delivery.mac,
    hostMac: delivery.hostMac,
    identity: delivery.identity,
  });
}

export function decodeLxcValue(bytes: Uint8Array): LocalDelivery {
  const info = decode(endpointInfo, bytes);
  return {
    id: endpointId(info.id),
    identity: identityId(info.identity),
    ifIndex: ifIndex(info.ifindex),
    mac: info.mac as Mac,
    hostMac: info.hostMac as Mac,
    host: (info.flags & ENDPOINT_HOST) !== 0,
  };
}

export const describeLxcEntry: DescribeEntry = (keyBytes, valueBytes) => {
  const ip = formatAddress(decodeLxcKey(keyBytes));
  const value = decodeLxcValue(valueBytes);
  const [mac, nodeMac] = [formatMac(value.mac), formatMac(value.hostMac)];
  return {
    key: ip,
    value: value.host
      ? '(localhost)'
      : `id=${value.id} sec_id=${value.identity} flags=0x0000 ifindex=${value.ifIndex} mac=${mac} nodemac=${nodeMac}`,
    fields: {
      ip,
      id: value.id,
      ifindex: value.ifIndex,
      mac,
      'host-mac': nodeMac,
      identity: value.identity,
      host: value.host,
    },
  };
};

/** `weir_lxc`: which addresses are local. An entry opens delivery to an endpoint; removing it closes it. */
export class LxcMap {
  readonly #map: MapHandle;

  constructor(map: MapHandle) {
    this.#map = map;
  }

  open(addresses: readonly Address[], delivery: LocalDelivery): void {
    const value = encodeLxcValue(delivery);
    for (const address of addresses) this.#map.update(encodeLxcKey(address), value);
  }

  /** What stands for an address now. */
  get(address: Address): LocalDelivery | undefined {
    const bytes = this.#map.lookup(encodeLxcKey(address));
    return bytes && decodeLxcValue(bytes);
  }

  /** Closes delivery to addresses, where it is the endpoint's: an address may have a new owner already. */
  close(addresses: readonly Address[], id: EndpointId): void {
    for (const address of addresses) if (this.get(address)?.id === id) this.#map.delete(encodeLxcKey(address));
  }

  async *entries(): AsyncGenerator<readonly [Address, LocalDelivery]> {
    for await (const { key, value } of this.#map.entries()) yield [decodeLxcKey(key), decodeLxcValue(value)];
  }

  /** Removes endpoints' entries for which `keep` says no; those of the node itself stay. @returns addresses removed */
  async prune(keep: (id: EndpointId) => boolean): Promise<readonly Address[]> {
    const gone: Address[] = [];
    for await (const [address, { id, host }] of this.entries()) if (!host && !keep(id)) gone.push(address);
    for (const address of gone) this.#map.delete(encodeLxcKey(address));
    return gone;
  }
}
