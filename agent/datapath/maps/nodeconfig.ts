import { formatAddress, type Address } from '../../model/address.ts';
import type { IfIndex } from '../../model/endpoint.ts';
import { formatMac, type Mac } from '../../model/mac.ts';
import { decode, encode, nodeConfig, u32 } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { addressFromField, type DescribeEntry } from './dump.ts';

/** What all programs of the node know of it. */
export interface NodeValues {
  readonly routerIpv4?: Address;
  readonly routerIpv6?: Address;
  /** `weir_host`. */
  readonly hostIfIndex: IfIndex;
  readonly hostMac: Mac;
}

const NONE = new Uint8Array();

export function encodeNodeConfig(values: NodeValues): Uint8Array {
  return encode(nodeConfig, {
    routerIpv4: values.routerIpv4?.bytes ?? NONE,
    routerIpv6: values.routerIpv6?.bytes ?? NONE,
    hostIfindex: values.hostIfIndex,
    hostMac: values.hostMac,
  });
}

export const describeNodeConfigEntry: DescribeEntry = (_key, bytes) => {
  const config = decode(nodeConfig, bytes);
  const routerIpv4 = formatAddress(addressFromField(config.routerIpv4, 4));
  const routerIpv6 = formatAddress(addressFromField(config.routerIpv6, 6));
  const hostMac = formatMac(config.hostMac as Mac);
  return {
    key: 'node',
    value: `router=${routerIpv4},${routerIpv6} host_ifindex=${config.hostIfindex} host_mac=${hostMac}`,
    fields: { routerIpv4, routerIpv6, hostIfindex: config.hostIfindex, hostMac },
  };
};

/** Writes `weir_node_config`. */
export function writeNodeConfig(map: MapHandle, values: NodeValues): void {
  map.update(encode(u32, 0), encodeNodeConfig(values));
}
