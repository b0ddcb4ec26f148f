import { formatAddress } from '../model/address.ts';
import type { EndpointId } from '../model/endpoint.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { Endpoint } from './endpoint.ts';
import { divide } from './endpoint-labels.ts';
import { publish } from './enforce.ts';
import type { EndpointEnvironment } from './environment.ts';
import type { EndpointRecord } from './record.ts';
import type { EndpointIndex } from './table.ts';

/** How a restart went. */
export interface RestoreReport {
  readonly restored: readonly Endpoint[];
  /** Endpoints whose link was gone: the workload went away while nobody looked. */
  readonly stale: readonly EndpointId[];
  /** Files that were set aside, and what else went wrong. */
  readonly problems: readonly WeirError[];
}

/** Takes up the endpoints of the state directory. What the kernel holds is not touched. */
export async function restoreEndpoints(environment: EndpointEnvironment, index: EndpointIndex): Promise<RestoreReport> {
  const { records, problems, lost } = await environment.store.load(environment.clock);
  const report = { restored: [] as Endpoint[], stale: [] as EndpointId[], problems: [...problems] };
  for (const id of lost) index.reserve(id);
  for (const record of records) {
    try {
      const { hostUp, container, attached } = await environment.datapath.linkStatus(
        record.link,
        record.attachment.netns,
      );
      if (!hostUp && container === undefined && !attached) {
        await environment.store.remove(record.id);
        report.stale.push(record.id);
        continue;
      }
      report.restored.push(await restoreEndpoint(environment, index, record));
    } catch (cause) {
      const object = `endpoint ${record.id}`;
      report.problems.push(
        new WeirError('STATE_CORRUPT', `cannot be restored: ${errorText(cause)}`, { object, cause }),
      );
      // The kernel may still refer to its identity, under labels that nobody vouches for.
      environment.identities.reserve(record.identity.id);
      index.reserve(record.id);
      await environment.store.remove(record.id);
    }
  }
  return report;
}

async function restoreEndpoint(
  environment: EndpointEnvironment,
  index: EndpointIndex,
  record: EndpointRecord,
): Promise<Endpoint> {
  const { id, attachment, addressing, mtu, createdAt, labels } = record;
  const endpoint = new Endpoint({
    id,
    attachment,
    addressing,
    mtu,
    createdAt,
    labels: divide(environment.labels.filter, labels.origin, labels.derived, labels.user),
    state: 'restoring',
    clock: environment.clock,
  });
  const other =
    index.byKey(endpoint.key) ?? endpoint.addresses.map((address) => index.byAddress(address)).find(Boolean);
  if (other !== undefined) throw new WeirError('ENDPOINT_EXISTS', `${other.title} has its attachment or address`);
  const claimed: Endpoint['addresses'] = [];
  try {
    for (const address of endpoint.addresses) {
      if (!environment.ipam.serves(address)) continue;
      environment.ipam.allocate(address, endpoint.podName ?? endpoint.key);
      claimed.push(address);
    }
    endpoint.identity = await environment.identities.adopt(record.identity);
  } catch (error) {
    for (const address of claimed) environment.ipam.release(address);
    throw error;
  }
  endpoint.link = record.link;
  endpoint.options = record.options;
  endpoint.bandwidth = environment.datapath.bandwidth(id);
  endpoint.note(
    `restored with ${endpoint.addresses.map(formatAddress).join(' and ')}, identity ${endpoint.identity.id}`,
  );
  publish(environment, endpoint, endpoint.identity);
  index.add(endpoint);
  return endpoint;
}
