import { MAGLEV_SIZES } from '../model/service.ts';
import type { Reader } from './reader.ts';

/** How services are spread over their backends. */
export interface LoadBalancingConfig {
  /** Places of Maglev's tables; undefined: clients from outside are spread at random. */
  readonly maglevTableSize: number | undefined;
  readonly externalClusterIp: boolean;
  readonly rejectWithoutBackend: boolean;
}

export function readLoadBalancing(reader: Reader): LoadBalancingConfig {
  const size = reader.number('bpf-lb-maglev-table-size', 1, 1_000_000);
  if (!MAGLEV_SIZES.some((known) => known === size)) {
    reader.fail('bpf-lb-maglev-table-size', `${size} is not one of ${MAGLEV_SIZES.join(', ')}`);
  }
  const maglev = reader.oneOf('bpf-lb-algorithm', ['random', 'maglev']) === 'maglev';
  return Object.freeze({
    maglevTableSize: maglev ? size : undefined,
    externalClusterIp: reader.flag('bpf-lb-external-clusterip'),
    rejectWithoutBackend: reader.oneOf('service-no-backend-response', ['reject', 'drop']) === 'reject',
  });
}
