import type * as models from '../../api/models.ts';
import type { ServiceApi } from '../../api/server/contract.ts';
import { formatAddress, formatCidr } from '../../model/address.ts';
import { WeirError } from '../../model/errors.ts';
import { protocolName } from '../../model/port.ts';
import type { Backend, BackendId, BackendState, Frontend, TrafficPolicy } from '../../model/service.ts';

/** What is in force; `ServiceSync` has it. */
export interface ServiceTable {
  readonly frontends: readonly Frontend[];
  readonly backends: readonly Backend[];
}

/** Services as the API shows them: a frontend each, and two where clients of this node have other backends. */
export class ServiceApiAdapter implements ServiceApi {
  readonly #table: ServiceTable;

  constructor(table: ServiceTable) {
    this.#table = table;
  }

  list(): readonly models.Service[] {
    const backends = new Map(this.#table.backends.map((backend) => [backend.id, backend]));
    return this.#table.frontends
      .toSorted((a, b) => a.id - b.id)
      .flatMap((frontend) => serviceModels(frontend, backends));
  }

  get(id: number): models.Service {
    const found = this.list().find(({ spec }) => spec?.id === id);
    if (found !== undefined) return found;
    throw new WeirError('SERVICE_NOT_FOUND', 'there is no such service', { object: `service ${id}` });
  }
}

function serviceModels(frontend: Frontend, backends: ReadonlyMap<BackendId, Backend>): models.Service[] {
  const { backends: inside, externalBackends: outside } = frontend;
  const same = inside.length === outside.length && inside.every((id, i) => id === outside[i]);
  const model = (ids: readonly BackendId[], scope: 'external' | 'internal', policy: TrafficPolicy): models.Service => {
    const found = ids.flatMap((id) => backends.get(id) ?? []);
    const spec: models.ServiceSpec = {
      id: frontend.id,
      'frontend-address': {
        ip: formatAddress(frontend.address),
        protocol: protocolName(frontend.protocol),
        port: frontend.port,
        scope,
      },
      'backend-addresses': found.map(backendModel),
      flags: flagsOf(frontend, policy),
    };
    return { spec, status: { realized: spec } };
  };
  const policy = frontend.kind === 'ClusterIP' ? frontend.internalTrafficPolicy : frontend.externalTrafficPolicy;
  return [
    model(outside, 'external', policy),
    ...(same ? [] : [model(inside, 'internal', frontend.kind === 'ClusterIP' ? policy : 'Cluster')]),
  ];
}

function flagsOf(frontend: Frontend, trafficPolicy: TrafficPolicy): models.ServiceFlags {
  const { service, kind, portName, affinitySeconds, sourceRanges } = frontend;
  const slash = service.indexOf('/');
  return {
    name: service.slice(slash + 1),
    namespace: service.slice(0, slash),
    type: kind,
    trafficPolicy,
    extTrafficPolicy: frontend.externalTrafficPolicy,
    intTrafficPolicy: frontend.internalTrafficPolicy,
    natPolicy: 'None',
    ...(portName !== '' && { portName }),
    ...(affinitySeconds > 0 && { sessionAffinitySeconds: affinitySeconds }),
    ...(sourceRanges && { sourceRanges: sourceRanges.map(formatCidr) }),
  };
}

/** What the API has no word for is out of use for a while. */
const STATES: Readonly<Record<BackendState, NonNullable<models.BackendAddress['state']>>> = {
  active: 'active',
  terminating: 'terminating',
  unready: 'quarantined',
};

function backendModel({ address, port, protocol, node, zone, state }: Backend): models.BackendAddress {
  return {
    ip: formatAddress(address),
    protocol: protocolName(protocol),
    port,
    ...(node !== undefined && { nodeName: node }),
    ...(zone !== undefined && { zone }),
    state: STATES[state],
    preferred: true,
  };
}
