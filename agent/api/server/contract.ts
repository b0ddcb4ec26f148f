/**
 * What the routes want of the agent. Handlers speak models, not rooms: this is the seam between the wire and the agent, and
 * `agent/daemon` implements it. Methods throw {@link WeirError}s; the server turns them into answers.
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
  EndpointBatchDeleteRequest,
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
} from '../models.ts';

/** How far the agent has come; it decides which requests are taken. */
export type ApiPhase =
  /** State is being restored: only the health is answered. */
  | 'starting'
  /** Endpoints are known, policies are not yet: reading is answered. */
  | 'restored'
  | 'ready';

/** `id` is the text of the path: a number, or a prefixed id. */
export interface EndpointApi {
  list(labels: readonly string[]): readonly Endpoint[];
  get(id: string): Endpoint;
  put(id: string, request: EndpointChangeRequest): Promise<Endpoint>;
  patch(id: string, request: EndpointChangeRequest): Promise<void>;
  delete(id: string): Promise<void>;
  deleteMany(request: EndpointBatchDeleteRequest): Promise<void>;
  health(id: string): Promise<EndpointHealth>;
  log(id: string): EndpointStatusLog;
  labels(id: string): LabelConfiguration;
  patchLabels(id: string, spec: LabelConfigurationSpec): Promise<void>;
  config(id: string): EndpointConfigurationStatus;
  patchConfig(id: string, spec: EndpointConfigurationSpec): Promise<void>;
}

export type IpFamily = 'ipv4' | 'ipv6';

export interface IpamApi {
  allocateNext(options: {
    readonly family?: IpFamily;
    readonly owner?: string;
    readonly expires: boolean;
  }): IPAMResponse;
  allocate(ip: string, owner: string | undefined): void;
  release(ip: string): void;
}

export interface PolicyApi {
  identities(labels: readonly string[]): readonly Identity[];
  identity(id: string): Identity;
  identityEndpoints(): readonly IdentityEndpoints[];
  policy(): Policy;
  selectors(): SelectorCache;
  /** @throws WeirError IDENTITY_NOT_FOUND, POLICY_CONFLICT */
  explain(question: PolicyQuestion): PolicyExplanation;
  /** @param cidr only what lies in it */
  ips(cidr: string | undefined): readonly IPListEntry[];
}

/** Policies in force for a while. */
export interface TrialApi {
  status(): PolicyTrial;
  /** @throws WeirError REQUEST_INVALID, POLICY_INVALID, TRIAL_RUNNING */
  begin(request: PolicyTrialRequest): Promise<PolicyTrial>;
  /** Keeps them. @throws WeirError TRIAL_NOT_FOUND */
  confirm(): PolicyTrial;
  /** Brings back what was in force before. @throws WeirError TRIAL_NOT_FOUND */
  revert(): Promise<PolicyTrial>;
}

export interface ServiceApi {
  list(): readonly Service[];
  /** @throws WeirError SERVICE_NOT_FOUND */
  get(id: number): Service;
}

/** Which addresses of names are meant. */
export interface NameFilter {
  readonly matchpattern?: string;
  /** Only addresses in this prefix. */
  readonly cidr?: string;
  readonly source?: 'lookup' | 'connection';
}

export interface NameApi {
  /**
   * @param id of one endpoint; undefined for all
   * @throws WeirError ENDPOINT_NOT_FOUND, REQUEST_INVALID, ADDRESS_INVALID
   */
  cache(id: string | undefined, filter: NameFilter): readonly DNSLookup[];
  /** @throws WeirError REQUEST_INVALID for what is no pattern */
  clean(matchpattern: string | undefined): void;
  selectors(): NameManager;
}

export interface HealthApi {
  /** How nodes were reached last. @throws WeirError HEALTH_DISABLED */
  status(): HealthStatusResponse;
  /** Probes all nodes now. @throws WeirError HEALTH_DISABLED */
  probe(): Promise<HealthStatusResponse>;
}

export interface DaemonApi {
  readonly phase: ApiPhase;
  health(brief: boolean): StatusResponse;
  config(): DaemonConfiguration;
  patchConfig(spec: DaemonConfigurationSpec): Promise<void>;
  debugInfo(): Promise<DebugInfo>;
  nodes(): ClusterNodeStatus;
  maps(): BPFMapList;
  map(name: string): Promise<BPFMap>;
  /**
   * Forgets the entries of a map; only conntrack maps take that.
   *
   * @throws WeirError MAP_NOT_FOUND; REQUEST_INVALID for a map that holds what policy or delivery need
   */
  flushMap(name: string): Promise<void>;
  /**
   * Events of these types, or of all when there are none, until `signal` aborts: whole lines of JSON, a {@link MonitorEvent}
   * each, some at a time. Text already, because there may be so many.
   */
  monitor(signal: AbortSignal, types: readonly MonitorEvent['type'][]): AsyncIterable<string>;
}

/** The whole agent, as its API sees it. */
export interface AgentApi {
  readonly endpoints: EndpointApi;
  readonly ipam: IpamApi;
  readonly policy: PolicyApi;
  readonly trial: TrialApi;
  readonly services: ServiceApi;
  readonly names: NameApi;
  readonly health: HealthApi;
  readonly daemon: DaemonApi;
}
