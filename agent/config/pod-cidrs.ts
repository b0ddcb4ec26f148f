import { parseCidr, type Cidr } from '../model/address.ts';
import type { KubernetesConfig } from './kubernetes.ts';
import type { Reader } from './reader.ts';

/** Who says which addresses pods have. */
export type IpamMode = 'flags' | 'kubernetes' | 'cluster-pool';

/** Prefixes of the pods of this node. */
export interface PodCidrs {
  readonly ipv4?: Cidr;
  readonly ipv6?: Cidr;
}

export function readIpam(reader: Reader, { ipv4, ipv6 }: PodCidrs, kubernetes: KubernetesConfig | undefined): IpamMode {
  const named = ipv4 !== undefined || ipv6 !== undefined;
  if (reader.optional('ipam') === undefined) return named || kubernetes === undefined ? 'flags' : 'cluster-pool';
  const mode = reader.oneOf('ipam', ['flags', 'kubernetes', 'cluster-pool']);
  if (mode !== 'flags' && kubernetes === undefined)
    return reader.fail('ipam', `${mode} needs an API server: see --k8s-kubeconfig-path`);
  if (mode !== 'flags' && named)
    return reader.fail('ipam', `with ${mode} the cluster says the addresses, not --pod-cidr`);
  return mode;
}

export function readPodCidrs(reader: Reader): PodCidrs {
  const cidrs: { ipv4?: Cidr; ipv6?: Cidr } = {};
  for (const text of reader.list('pod-cidr')) {
    const cidr = reader.check('pod-cidr', () => parseCidr(text));
    const family = cidr.address.family === 4 ? 'ipv4' : 'ipv6';
    if (cidrs[family] !== undefined) reader.fail('pod-cidr', 'names two prefixes of one family');
    cidrs[family] = cidr;
  }
  return Object.freeze(cidrs);
}
