import { decode, policystatsKey } from '../../../bpf/gen/structs.ts';
import { POLICY_PROTOCOL_BITS } from '../../../bpf/gen/constants.ts';
import { identityId } from '../../model/identity.ts';
import type { DescribeEntry } from './dump.ts';
import { sumTraffic } from './metrics.ts';
import { portText } from './policymap.ts';

/** `weir_policystats`: what each policy entry of each endpoint decided. */
export const describePolicyStats: DescribeEntry = (keyBytes, perCpu) => {
  const key = decode(policystatsKey, keyBytes);
  const { packets, bytes } = sumTraffic(perCpu);
  const direction = key.egress === 0 ? 'ingress' : 'egress';
  const portPrefix = Math.max(0, key.prefix - POLICY_PROTOCOL_BITS);
  const { protocol, port } = key;
  const text = portText({ direction, identity: identityId(key.identity), protocol, port, portPrefix });
  return {
    key: `endpoint ${key.endpoint} ${direction} ${key.identity} ${text}`,
    value: `packets=${packets} bytes=${bytes}`,
    fields: {
      endpoint: key.endpoint,
      direction,
      identity: key.identity,
      protocol,
      port,
      'port-prefix-length': portPrefix,
      packets: Number(packets),
      bytes: Number(bytes),
    },
  };
};
