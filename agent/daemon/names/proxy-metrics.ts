/** What the DNS proxy counts, under Cilium's names. */
import { Gauge, type Registry } from 'prom-client';
import { TIME_BUCKETS, type ProxyCounters } from '../../../dns-proxy/contract.ts';

/** As the peer calls them; what is not here is called as in the contract. */
const SCOPES: Readonly<Record<string, string>> = {
  upstream: 'upstreamTime',
  processing: 'processingTime',
  semaphore: 'semaphoreTime',
  policyGeneration: 'policyGenerationTime',
  policyCheck: 'policyCheckTime',
  dataplane: 'dataplaneTime',
  total: 'totalTime',
};

/**
 * Counts of a proxy that may live longer, or shorter, than the agent: its own numbers are shown, as it told them last.
 *
 * @param counts undefined while there was never a proxy
 */
export function proxyMetrics(registry: Registry, counts: () => ProxyCounters | undefined): void {
  const registers = [registry];
  const rules = ['received', 'forwarded', 'denied', 'parse_errors'] as const;
  new Gauge({
    name: 'cilium_policy_l7_total',
    help: 'Requests that proxies judged, by rule and proxy',
    labelNames: ['rule', 'proxy_type'],
    registers,
    collect() {
      const now = counts();
      for (const rule of rules) {
        const count = rule === 'parse_errors' ? now?.parseErrors : now?.[rule];
        this.set({ rule, proxy_type: 'fqdn' }, count ?? 0);
      }
    },
  });
  const simple = (name: string, help: string, of: (now: ProxyCounters) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const now = counts();
        this.set(now === undefined ? 0 : of(now));
      },
    });
  };
  simple('cilium_proxy_datapath_update_timeout_total', 'Answers that did not wait for the kernel any longer', (now) => {
    return now.deadlinesMissed;
  });
  simple('weir_dns_proxy_upstream_timeouts_total', 'Queries that no server answered in time', (now) => now.timeouts);
  simple('weir_dns_proxy_overload_total', 'Queries beyond the concurrency of their endpoint', (now) => now.overloaded);
  simple('weir_dns_proxy_unsolicited_total', 'Answers to nothing that was asked', (now) => now.unsolicited);
  simple('weir_dns_proxy_granted_total', 'Addresses opened while no agent ran', (now) => now.granted);
  responseTimes(registry, counts);
}

/** A histogram that somebody else fills: its parts, as Prometheus reads them. */
function responseTimes(registry: Registry, counts: () => ProxyCounters | undefined): void {
  const name = 'cilium_proxy_upstream_reply_seconds';
  const help = 'Seconds that queries took, by where the time went';
  const labelNames = ['protocol_l7', 'scope'];
  const registers = [registry];
  const each = (visit: (labels: Record<string, string>, time: ProxyCounters['times']['total']) => void): void => {
    for (const [scope, time] of Object.entries(counts()?.times ?? {}))
      visit({ protocol_l7: 'dns', scope: SCOPES[scope] ?? scope }, time);
  };
  new Gauge({
    name: `${name}_bucket`,
    help,
    labelNames: [...labelNames, 'le'],
    registers,
    collect() {
      each((labels, { counts: buckets }) => {
        let sum = 0;
        for (const [i, count] of buckets.entries()) {
          sum += count;
          this.set({ ...labels, le: i < TIME_BUCKETS.length ? String(TIME_BUCKETS[i]) : '+Inf' }, sum);
        }
      });
    },
  });
  new Gauge({
    name: `${name}_sum`,
    help,
    labelNames,
    registers,
    collect() {
      each((labels, { sum }) => this.set(labels, sum));
    },
  });
  new Gauge({
    name: `${name}_count`,
    help,
    labelNames,
    registers,
    collect() {
      each((labels, { counts: buckets }) =>
        this.set(
          labels,
          buckets.reduce((a, b) => a + b, 0),
        ),
      );
    },
  });
}
