/**
 * The one client of the agent's API, used by the CNI plugin, the CLI and the DNS proxy. It imports next to nothing, because
 * the plugin's start pays for every module.
 */
import type {
  BPFMap,
  BPFMapList,
  ClusterNodeStatus,
  DaemonConfiguration,
  DaemonConfigurationSpec,
  DebugInfo,
  DNSLookup,
  Endpoint,
  EndpointChangeRequest,
  EndpointConfigurationSpec,
  EndpointConfigurationStatus,
  EndpointHealth,
  EndpointStatusLog,
  HealthStatusResponse,
  Identity,
  IdentityEndpoints,
  IPAMResponse,
  IPListEntry,
  LabelConfiguration,
  LabelConfigurationSpec,
  MonitorEvent,
  NameManager,
  Policy,
  PolicyExplanation,
  PolicyQuestion,
  PolicyTrial,
  PolicyTrialRequest,
  SelectorCache,
  Service,
  StatusResponse,
} from './models.ts';
import { exchange, parseJson, streamLines, streamText, type ApiCall } from './transport.ts';

export type { ApiCall, Method } from './transport.ts';

/** Where the agent listens unless told otherwise (architecture.md §6). */
export const DEFAULT_SOCKET = '/run/weir/weir.sock';

/** Speaks to the agent that listens on one Unix socket. Every call is one connection. */
export class ApiClient {
  readonly socket: string;
  readonly #timeoutMs: number | undefined;

  /** @param timeoutMs limit of each call that names none, in milliseconds; streams have none. */
  constructor(socket: string = DEFAULT_SOCKET, timeoutMs?: number) {
    this.socket = socket;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Any call of the API; the methods with names are better where there is one.
   *
   * @throws WeirError AGENT_UNREACHABLE (not sent), AGENT_LOST, AGENT_TIMEOUT (perhaps in effect), ANSWER_INVALID, or the
   *   fault that the agent answered, with its own code, object, field and remedy.
   */
  call(call: ApiCall): Promise<unknown> {
    return exchange(this.socket, this.#timeoutMs === undefined ? call : { timeoutMs: this.#timeoutMs, ...call });
  }

  /** State of the agent and its parts; `brief` leaves out what says nothing of whether all is well. */
  health(brief = false): Promise<StatusResponse> {
    const path = brief ? '/v1/healthz?brief=true' : '/v1/healthz';
    return this.call({ method: 'GET', path }) as Promise<StatusResponse>;
  }

  config(): Promise<DaemonConfiguration> {
    return this.call({ method: 'GET', path: '/v1/config' }) as Promise<DaemonConfiguration>;
  }

  async patchConfig(spec: DaemonConfigurationSpec): Promise<void> {
    await this.call({ method: 'PATCH', path: '/v1/config', body: spec });
  }

  debugInfo(): Promise<DebugInfo> {
    return this.call({ method: 'GET', path: '/v1/debuginfo' }) as Promise<DebugInfo>;
  }

  /** All endpoints, or those that have every one of `labels`. */
  endpoints(labels: readonly string[] = []): Promise<readonly Endpoint[]> {
    const body = labels.length === 0 ? {} : { body: labels };
    return this.call({ method: 'GET', path: '/v1/endpoint', ...body }) as Promise<readonly Endpoint[]>;
  }

  /** @param id a number, or a prefixed id such as `cni-attachment-id:<container>:<interface>`; so wherever an id is taken. */
  endpoint(id: string): Promise<Endpoint> {
    return this.call({ method: 'GET', path: endpointPath(id) }) as Promise<Endpoint>;
  }

  /** Creates an endpoint, or replaces the stale one of the same attachment. */
  putEndpoint(id: string, request: EndpointChangeRequest, timeoutMs?: number): Promise<Endpoint> {
    const limit = timeoutMs === undefined ? {} : { timeoutMs };
    return this.call({ method: 'PUT', path: endpointPath(id), body: request, ...limit }) as Promise<Endpoint>;
  }

  async patchEndpoint(id: string, request: EndpointChangeRequest): Promise<void> {
    await this.call({ method: 'PATCH', path: endpointPath(id), body: request });
  }

  /** @throws WeirError ENDPOINT_NOT_FOUND */
  async deleteEndpoint(id: string, timeoutMs?: number): Promise<void> {
    await this.call({ method: 'DELETE', path: endpointPath(id), ...(timeoutMs === undefined ? {} : { timeoutMs }) });
  }

  /** Deletes every endpoint of a container. */
  async deleteContainer(containerId: string): Promise<void> {
    await this.call({ method: 'DELETE', path: '/v1/endpoint', body: { 'container-id': containerId } });
  }

  endpointHealth(id: string): Promise<EndpointHealth> {
    return this.call({ method: 'GET', path: `${endpointPath(id)}/healthz` }) as Promise<EndpointHealth>;
  }

  endpointLog(id: string): Promise<EndpointStatusLog> {
    return this.call({ method: 'GET', path: `${endpointPath(id)}/log` }) as Promise<EndpointStatusLog>;
  }

  endpointLabels(id: string): Promise<LabelConfiguration> {
    return this.call({ method: 'GET', path: `${endpointPath(id)}/labels` }) as Promise<LabelConfiguration>;
  }

  async patchEndpointLabels(id: string, spec: LabelConfigurationSpec): Promise<void> {
    await this.call({ method: 'PATCH', path: `${endpointPath(id)}/labels`, body: spec });
  }

  endpointConfig(id: string): Promise<EndpointConfigurationStatus> {
    return this.call({ method: 'GET', path: `${endpointPath(id)}/config` }) as Promise<EndpointConfigurationStatus>;
  }

  async patchEndpointConfig(id: string, spec: EndpointConfigurationSpec): Promise<void> {
    await this.call({ method: 'PATCH', path: `${endpointPath(id)}/config`, body: spec });
  }

  identities(): Promise<readonly Identity[]> {
    return this.call({ method: 'GET', path: '/v1/identity' }) as Promise<readonly Identity[]>;
  }

  identity(id: number): Promise<Identity> {
    return this.call({ method: 'GET', path: `/v1/identity/${id}` }) as Promise<Identity>;
  }

  identityEndpoints(): Promise<readonly IdentityEndpoints[]> {
    return this.call({ method: 'GET', path: '/v1/identity/endpoints' }) as Promise<readonly IdentityEndpoints[]>;
  }

  /** What the ipcache holds, or the entry of one prefix. */
  ips(cidr?: string): Promise<readonly IPListEntry[]> {
    const query = cidr === undefined ? '' : `?cidr=${encodeURIComponent(cidr)}`;
    return this.call({ method: 'GET', path: `/v1/ip${query}` }) as Promise<readonly IPListEntry[]>;
  }

  /** Puts policies in force for a while. @throws WeirError as {@link call} */
  tryPolicies(body: PolicyTrialRequest): Promise<PolicyTrial> {
    return this.call({ method: 'PUT', path: '/v1/policy/trial', body }) as Promise<PolicyTrial>;
  }

  policyTrial(): Promise<PolicyTrial> {
    return this.call({ method: 'GET', path: '/v1/policy/trial' }) as Promise<PolicyTrial>;
  }

  confirmPolicies(): Promise<PolicyTrial> {
    return this.call({ method: 'POST', path: '/v1/policy/trial/confirm' }) as Promise<PolicyTrial>;
  }

  rollBackPolicies(): Promise<PolicyTrial> {
    return this.call({ method: 'DELETE', path: '/v1/policy/trial' }) as Promise<PolicyTrial>;
  }

  policy(): Promise<Policy> {
    return this.call({ method: 'GET', path: '/v1/policy' }) as Promise<Policy>;
  }

  selectors(): Promise<SelectorCache> {
    return this.call({ method: 'GET', path: '/v1/policy/selectors' }) as Promise<SelectorCache>;
  }

  /** Why a packet is allowed or denied, rule by rule. */
  explain(question: PolicyQuestion): Promise<PolicyExplanation> {
    const query = Object.entries(question).map(([name, value]) => `${name}=${value}`);
    return this.call({ method: 'GET', path: `/v1/policy/explain?${query.join('&')}` }) as Promise<PolicyExplanation>;
  }

  /** Nodes of the cluster. */
  nodes(): Promise<ClusterNodeStatus> {
    return this.call({ method: 'GET', path: '/v1/cluster/nodes' }) as Promise<ClusterNodeStatus>;
  }

  /** How this node reached the others last. @throws WeirError HEALTH_DISABLED */
  connectivity(): Promise<HealthStatusResponse> {
    return this.call({ method: 'GET', path: '/v1beta/status' }) as Promise<HealthStatusResponse>;
  }

  /** Probes all nodes now, which takes as long as those that are silent. @throws WeirError HEALTH_DISABLED */
  probeConnectivity(timeoutMs?: number): Promise<HealthStatusResponse> {
    const limit = timeoutMs === undefined ? {} : { timeoutMs };
    return this.call({ method: 'PUT', path: '/v1beta/status/probe', ...limit }) as Promise<HealthStatusResponse>;
  }

  /** Frontends of services with their backends. */
  services(): Promise<readonly Service[]> {
    return this.call({ method: 'GET', path: '/v1/service' }) as Promise<readonly Service[]>;
  }

  /** @throws WeirError SERVICE_NOT_FOUND */
  service(id: number): Promise<Service> {
    return this.call({ method: 'GET', path: `/v1/service/${id}` }) as Promise<Service>;
  }

  /** Addresses that endpoints know by name. @param endpoint of one endpoint only */
  names(filter: NameFilter = {}, endpoint?: string): Promise<readonly DNSLookup[]> {
    const path = endpoint === undefined ? '/v1/fqdn/cache' : `/v1/fqdn/cache/${encodeURIComponent(endpoint)}`;
    return this.call({ method: 'GET', path: `${path}${queryText({ ...filter })}` }) as Promise<readonly DNSLookup[]>;
  }

  /** Forgets addresses of names, all or those that match a pattern; those of live connections stay until they end. */
  async cleanNames(matchpattern?: string): Promise<void> {
    const query = queryText(matchpattern === undefined ? {} : { matchpattern });
    await this.call({ method: 'DELETE', path: `/v1/fqdn/cache${query}` });
  }

  /** Names and patterns that policies use. */
  nameSelectors(): Promise<NameManager> {
    return this.call({ method: 'GET', path: '/v1/fqdn/names' }) as Promise<NameManager>;
  }

  maps(): Promise<BPFMapList> {
    return this.call({ method: 'GET', path: '/v1/map' }) as Promise<BPFMapList>;
  }

  map(name: string): Promise<BPFMap> {
    return this.call({ method: 'GET', path: `/v1/map/${encodeURIComponent(name)}` }) as Promise<BPFMap>;
  }

  /** Forgets all connections of a conntrack map, `weir_ct4` or `weir_ct6`. */
  async flushMap(name: string): Promise<void> {
    await this.call({ method: 'DELETE', path: `/v1/map/${encodeURIComponent(name)}` });
  }

  /** Allocates an address of each family, or of one. */
  allocateAddresses(owner: string, family?: 'ipv4' | 'ipv6'): Promise<IPAMResponse> {
    const query = new URLSearchParams({ owner, ...(family === undefined ? {} : { family }) });
    return this.call({ method: 'POST', path: `/v1/ipam?${query.toString()}` }) as Promise<IPAMResponse>;
  }

  async releaseAddress(ip: string): Promise<void> {
    await this.call({ method: 'DELETE', path: `/v1/ipam/${encodeURIComponent(ip)}` });
  }

  /**
   * Drops, traces and policy verdicts, live. Leaving the loop, or aborting `signal`, closes the connection.
   *
   * @throws WeirError as {@link call} does.
   */
  monitor(signal?: AbortSignal, options: MonitorOptions = {}): AsyncGenerator<MonitorEvent, void, undefined> {
    return streamLines(this.socket, monitorCall(signal, options)) as AsyncGenerator<MonitorEvent, void, undefined>;
  }

  /** As {@link monitor}: lines of JSON, as many at a time as have come. {@link monitorEvent} decodes one. */
  monitorText(signal?: AbortSignal, options: MonitorOptions = {}): AsyncGenerator<string, void, undefined> {
    return streamText(this.socket, monitorCall(signal, options));
  }

  /** A line of {@link monitorText}. @throws WeirError ANSWER_INVALID */
  monitorEvent(line: string): MonitorEvent {
    return parseJson(line, this.socket) as MonitorEvent;
  }
}

function monitorCall(signal: AbortSignal | undefined, { types = [], onOpen }: MonitorOptions): ApiCall {
  const path = `/v1/monitor${types.length === 0 ? '' : `?type=${types.join(',')}`}`;
  return { method: 'GET', path, ...(signal && { signal }), ...(onOpen && { onOpen }) };
}

/** What {@link ApiClient.monitor} is to tell. */
export interface MonitorOptions {
  /** Empty: all. */
  readonly types?: readonly MonitorEvent['type'][];
  /** The agent listens: nothing is missed from now on. */
  readonly onOpen?: () => void;
}

/** Which addresses of names {@link ApiClient.names} shows. */
export interface NameFilter {
  readonly matchpattern?: string;
  readonly cidr?: string;
  readonly source?: 'lookup' | 'connection';
}

function queryText(query: Readonly<Record<string, string>>): string {
  const text = new URLSearchParams(query).toString();
  return text === '' ? '' : `?${text}`;
}

function endpointPath(id: string): string {
  return `/v1/endpoint/${encodeURIComponent(id)}`;
}
