/** What an operator counts. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

export interface OperatorMetrics {
  readonly registry: Registry;
  /** 1 while this one leads. */
  readonly leader: Gauge;
  readonly runs: Counter<'duty' | 'outcome'>;
  readonly identities: Counter<'outcome'>;
  readonly endpoints: Counter<'outcome'>;
  readonly ipam: Gauge<'family' | 'state'>;
  readonly slices: Counter<'operation'>;
  readonly sliceEndpoints: Gauge;
  readonly policies: Gauge<'valid'>;
}

/** Counters and gauges under the names of Cilium's operator where it has such. */
export function createMetrics(): OperatorMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    leader: new Gauge({ name: 'cilium_operator_leader', help: 'Whether this operator leads', registers }),
    runs: new Counter({
      name: 'cilium_operator_duty_runs_total',
      help: 'Rounds of each duty, by outcome',
      labelNames: ['duty', 'outcome'],
      registers,
    }),
    identities: new Counter({
      name: 'cilium_operator_identity_gc_entries_total',
      help: 'Identities that the garbage collection marked, kept, or deleted',
      labelNames: ['outcome'],
      registers,
    }),
    endpoints: new Counter({
      name: 'cilium_operator_endpoint_gc_objects_total',
      help: 'Endpoints without a pod, by what became of them',
      labelNames: ['outcome'],
      registers,
    }),
    ipam: new Gauge({
      name: 'cilium_operator_ipam_pod_cidrs',
      help: 'Pod CIDRs of the cluster pool',
      labelNames: ['family', 'state'],
      registers,
    }),
    slices: new Counter({
      name: 'cilium_operator_ces_changes_total',
      help: 'Writes of endpoint slices',
      labelNames: ['operation'],
      registers,
    }),
    sliceEndpoints: new Gauge({ name: 'cilium_operator_ces_endpoints', help: 'Endpoints in slices', registers }),
    policies: new Gauge({
      name: 'cilium_operator_policies',
      help: 'Policies by whether they are valid',
      labelNames: ['valid'],
      registers,
    }),
  };
}
