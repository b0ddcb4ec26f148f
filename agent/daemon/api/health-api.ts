import type * as models from '../../api/models.ts';
import type { HealthApi } from '../../api/server/contract.ts';
import type { HealthChecker } from '../../health/checker.ts';
import type { HealthReport, Outcome, PathHealth } from '../../health/report.ts';
import { formatAddress } from '../../model/address.ts';
import { WeirError } from '../../model/errors.ts';

/** How nodes reach each other, as the API shows it. */
export class HealthApiAdapter implements HealthApi {
  readonly #checker: Pick<HealthChecker, 'report' | 'probeAll'> | undefined;
  readonly #clusterName: string;

  /** @param checker undefined: nobody probes */
  constructor(checker: Pick<HealthChecker, 'report' | 'probeAll'> | undefined, clusterName: string) {
    this.#checker = checker;
    this.#clusterName = clusterName;
  }

  status(): models.HealthStatusResponse {
    return reportModel(this.#enabled().report(), this.#clusterName);
  }

  async probe(): Promise<models.HealthStatusResponse> {
    return reportModel(await this.#enabled().probeAll(), this.#clusterName);
  }

  #enabled(): Pick<HealthChecker, 'report' | 'probeAll'> {
    if (this.#checker !== undefined) return this.#checker;
    throw new WeirError('HEALTH_DISABLED', 'this agent probes no nodes');
  }
}

function reportModel({ self, nodes, at, intervalMs }: HealthReport, cluster: string): models.HealthStatusResponse {
  return {
    ...(at !== undefined && { timestamp: new Date(at).toISOString() }),
    probeInterval: durationText(intervalMs),
    local: { name: `${cluster}/${self}` },
    nodes: nodes.map(({ name, host, endpoint }) => ({
      name: `${cluster}/${name}`,
      ...(host.length > 0 && { host: pathsModel(host) }),
      ...(endpoint.length > 0 && { 'health-endpoint': pathsModel(endpoint) }),
    })),
  };
}

function pathsModel([primary, ...others]: readonly PathHealth[]): models.AddressHealthStatus {
  return {
    ...(primary && { 'primary-address': pathModel(primary) }),
    ...(others.length > 0 && { 'secondary-addresses': others.map(pathModel) }),
  };
}

function pathModel({ address, icmp, http }: PathHealth): models.PathStatus {
  return {
    ip: formatAddress(address),
    ...(icmp && { icmp: outcomeModel(icmp) }),
    ...(http && { http: outcomeModel(http) }),
  };
}

function outcomeModel(outcome: Outcome): models.ConnectivityStatus {
  const lastProbed = new Date(outcome.at).toISOString();
  return outcome.kind === 'answered'
    ? { latency: outcome.nanoseconds, status: '', lastProbed }
    : { status: outcome.message, lastProbed };
}

/** Such as `1m23.2s`, as Go prints durations. */
function durationText(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  const seconds = Math.round((ms - minutes * 60_000) / 10) / 100;
  return `${minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}
