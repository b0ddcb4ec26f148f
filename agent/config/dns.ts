import { Resolver } from 'node:dns';
import type { Reader } from './reader.ts';

/** What is kept of the answers of DNS (S30, S31). */
export interface NameConfig {
  /** Seconds. */
  readonly minTtl: number;
  readonly addressesPerName: number;
  /** Addresses past their TTL, for each endpoint. */
  readonly zombiesPerEndpoint: number;
  /** Milliseconds. */
  readonly idleGraceMs: number;
  /** DNS servers for names that the node itself asks for; empty: those of the node. */
  readonly resolvers: readonly string[];
}

/** How pods' DNS is taken care of; durations in milliseconds. */
export interface DnsProxyConfig {
  /** Of a proxy in a process of its own; undefined: the agent has one inside. */
  readonly socket: string | undefined;
  /** 0: that of the last run, or any. */
  readonly port: number;
  readonly reject: 'refused' | 'nameError';
  readonly maxDelayMs: number;
  readonly concurrencyPerEndpoint: number;
  readonly connectionsPerEndpoint: number;
  readonly idleTimeoutMs: number;
  readonly upstreamTimeoutMs: number;
}

export function readNames(reader: Reader): NameConfig {
  return Object.freeze({
    minTtl: reader.number('tofqdns-min-ttl', 0, 604_800),
    addressesPerName: reader.number('tofqdns-endpoint-max-ip-per-hostname', 1, 50_000),
    zombiesPerEndpoint: reader.number('tofqdns-max-deferred-connection-deletes', 1, 1_000_000),
    idleGraceMs: reader.duration('tofqdns-idle-connection-grace-period'),
    resolvers: readResolvers(reader),
  });
}

/** Servers as `dns.setServers` takes them. */
function readResolvers(reader: Reader): readonly string[] {
  const servers = reader.list('fromfqdns-resolvers');
  reader.check('fromfqdns-resolvers', () => new Resolver().setServers(servers));
  return servers;
}

export function readDnsProxy(reader: Reader): DnsProxyConfig {
  return Object.freeze({
    socket: reader.optional('dns-proxy-socket'),
    port: reader.number('tofqdns-proxy-port', 0, 65_535),
    reject: reader.oneOf('tofqdns-dns-reject-response-code', ['refused', 'nameError']),
    maxDelayMs: reader.duration('tofqdns-proxy-response-max-delay'),
    concurrencyPerEndpoint: reader.number('dnsproxy-concurrency-limit', 1, 1_000_000),
    connectionsPerEndpoint: reader.number('dnsproxy-connection-limit', 1, 100_000),
    idleTimeoutMs: reader.duration('dnsproxy-idle-timeout'),
    upstreamTimeoutMs: reader.duration('dnsproxy-upstream-timeout'),
  });
}
