/**
 * What the DNS proxy and the agent say to each other. Everything is plain data that survives JSON, for the proxy runs as a
 * worker of the agent or as a process of its own. `link/` carries it; the agent implements {@link ProxyListener} and is
 * handed a {@link DnsProxy}.
 *
 * The proxy decides queries by itself, from the last rules it was told. The identity of a server is what the kernel's ipcache
 * says, so the agent tells rules and not addresses.
 */
import type { PeerNames } from './rules/query-policy.ts';

/** Raised when a message changes its meaning. Two sides of different numbers do not talk: the proxy goes on as it is. */
export const CONTRACT_VERSION = 1;

/** An endpoint whose DNS goes through the proxy. A query from an address of no such endpoint is dropped. */
export interface EndpointNames {
  readonly endpoint: number;
  /** Its security identity: what its queries carry on the way to the server. */
  readonly identity: number;
  /** As text, without prefix length. */
  readonly addresses: readonly string[];
  /** `peerNames` of agent/fqdn makes them. In JSON, absent `peers` are every server. */
  readonly rules: readonly PeerNames[];
}

/**
 * With what identity the proxy itself may write an address into the kernel's ipcache while the agent is away. It does so
 * only for an address of which the ipcache says no more than that it is the world's, and only when `identities` has exactly the set of selectors that
 * select the name: else the address stays closed until the agent is back.
 */
export interface NameGrants {
  /** Every selector of names in force, as its policy wrote it (matchName or matchPattern). */
  readonly selectors: readonly string[];
  /**
   * Identities that are allocated and known to all policy maps, by the sorted set of selectors that they stand for. An
   * address has that of its family: they carry different labels of the world.
   */
  readonly identities: readonly {
    readonly selectors: readonly string[];
    readonly family: 4 | 6;
    readonly identity: number;
  }[];
}

/** How the proxy is to behave; flags of the agent, or of `weir-dns-proxy`. */
export interface ProxySettings {
  readonly reject: 'refused' | 'nameError';
  /** Longest time that an answer waits for the kernel to know its addresses, in milliseconds. */
  readonly maxDelayMs: number;
  /** Queries of one endpoint that may be on their way at once. */
  readonly concurrencyPerEndpoint: number;
  /** Open TCP connections of one endpoint. */
  readonly connectionsPerEndpoint: number;
  /** After which a connection without queries is closed, in milliseconds. */
  readonly idleTimeoutMs: number;
  /** How long a server may take, in milliseconds. */
  readonly upstreamTimeoutMs: number;
}

/** An answer that the policies of its endpoint, and the selection of its server, let the proxy believe. */
export interface LearnedAnswer {
  /** Given back in the acknowledgement; unique while the proxy lives. */
  readonly id: number;
  readonly endpoint: number;
  /** The name that was asked for: canonical. */
  readonly name: string;
  /** Names that it is another name of. */
  readonly aliases: readonly string[];
  /** As text. */
  readonly addresses: readonly string[];
  /** Seconds: the lowest of the addresses and CNAMEs (S30), before any minimum. */
  readonly ttl: number;
  /** When it came from the server, in milliseconds since the epoch: an answer may have waited for the agent's return. */
  readonly time: number;
  /** Whether the pod waits for the acknowledgement. False for a lease that is only prolonged, and for what is caught up. */
  readonly waiting: boolean;
  readonly server: string;
  readonly port: number;
}

/** What happened to one query, for monitor and flows. */
export interface QueryRecord {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly endpoint: number;
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly serverPort: number;
  /** As the kernel's ipcache says. */
  readonly serverIdentity: number;
  /** 6 or 17. */
  readonly protocol: number;
  /** `query`: it was let through or not; `answer`: a server's answer was. */
  readonly kind: 'query' | 'answer';
  readonly verdict: 'forwarded' | 'denied' | 'error';
  /** Why it was not forwarded. */
  readonly reason?: string;
  /** Canonical. */
  readonly name: string;
  /** Numbers of the type asked for, and of the answer's code. */
  readonly type: number;
  readonly rcode?: number;
  readonly ttl?: number;
  readonly addresses?: readonly string[];
  readonly aliases?: readonly string[];
  /** Of an answer: since the query came, in milliseconds. */
  readonly milliseconds?: number;
}

/** Where the time of a query goes. */
export type TimeScope =
  /** Deciding by rules and server. */
  | 'policyCheck'
  /** Waiting for the server. */
  | 'upstream'
  /** Waiting for room among the endpoint's queries. */
  | 'semaphore'
  /** The agent giving identities to addresses. */
  | 'policyGeneration'
  /** The kernel's maps being written. */
  | 'dataplane'
  /** Everything but the server. */
  | 'processing'
  | 'total';

/** Upper bounds of the buckets of {@link ProxyCounters.times}, in seconds; a last bucket takes the rest. */
export const TIME_BUCKETS = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const;

/** Counts since the proxy began: they never fall while its `started` is the same. */
export interface ProxyCounters {
  /** Milliseconds since the epoch. */
  readonly started: number;
  readonly received: number;
  readonly forwarded: number;
  readonly denied: number;
  readonly parseErrors: number;
  /** Queries that no server answered in time. */
  readonly timeouts: number;
  /** Queries beyond an endpoint's concurrency. */
  readonly overloaded: number;
  /** Answers that went out at their deadline, before the kernel knew their addresses. */
  readonly deadlinesMissed: number;
  /** Datagrams from servers that answered nothing that was asked. */
  readonly unsolicited: number;
  /** Addresses that the proxy wrote while the agent was away. */
  readonly granted: number;
  readonly times: Readonly<Record<TimeScope, { readonly sum: number; readonly counts: readonly number[] }>>;
}

export type AgentMessage =
  | { readonly type: 'hello'; readonly version: number; readonly settings: ProxySettings }
  /** All endpoints there are. Until the first, and after none, everything is refused. */
  | { readonly type: 'replace'; readonly endpoints: readonly EndpointNames[]; readonly grants: NameGrants }
  | ({ readonly type: 'change' } & RulesChange)
  /** The kernel holds what policies need of these answers, or never will. */
  | ({ readonly type: 'ack'; readonly answers: readonly number[] } & LearnTimes)
  /** These answers are no longer known: the next like them waits again. All of an endpoint, or all there are. */
  | { readonly type: 'forget'; readonly endpoint?: number }
  /** Whether anybody wants to see {@link QueryRecord}s. */
  | { readonly type: 'watch'; readonly queries: boolean };

export interface RulesChange {
  /** Whole, each; those not mentioned stay. */
  readonly endpoints?: readonly EndpointNames[];
  readonly removed?: readonly number[];
  /** Whole. */
  readonly grants?: NameGrants;
}

export type ProxyMessage =
  /** `port` is that of all four listeners, in host order. `leases`: how many answers are about to be caught up. */
  | { readonly type: 'hello'; readonly version: number; readonly port: number }
  | { readonly type: 'answers'; readonly answers: readonly LearnedAnswer[] }
  | { readonly type: 'queries'; readonly queries: readonly QueryRecord[]; readonly lost: number }
  | { readonly type: 'counters'; readonly counters: ProxyCounters };

/** What learning an answer took, in milliseconds. */
export interface LearnTimes {
  readonly identityMs?: number;
  readonly mapsMs?: number;
}

/** What the agent does with a proxy; one that has gone and come back is the same. */
export interface ProxyListener {
  /**
   * A proxy listens on `port`, and wants to know everything: call `replace` once all is known. Also called when a proxy came
   * back, perhaps on another port.
   *
   * @param backlog what endpoints have learned so far and may still use, with `waiting` false: an agent that was away has to
   *     know it before it takes anything out of the kernel's ipcache
   */
  connected(port: number, backlog: readonly LearnedAnswer[]): void;
  /** There is no proxy any more, or it cannot be reached: what is diverted to it is dropped until one is. */
  lost(): void;
  /**
   * An answer on its way to its endpoint. Resolves when the kernel holds every entry that policies need, or when it never will;
   * undefined when it does already. What it throws is logged, and the answer goes out.
   */
  learned(answer: LearnedAnswer): Promise<LearnTimes> | undefined;
  /** Only while `watch(true)`. @param lost records that did not fit */
  queries(records: readonly QueryRecord[], lost: number): void;
  /** About once a second while anything moves. */
  counters(counters: ProxyCounters): void;
}

/** The proxy as the agent sees it. What is said while there is none is not kept: `connected` asks for all of it. */
export interface DnsProxy extends AsyncDisposable {
  /** Port of the listeners in host order; undefined while there is no proxy. */
  readonly port: number | undefined;
  replace(endpoints: readonly EndpointNames[], grants: NameGrants): void;
  change(change: RulesChange): void;
  /** When addresses were closed that leases still name, as by `weir fqdn cache clean`: the next answer with one waits again. */
  forget(endpoint?: number): void;
  watch(queries: boolean): void;
}
