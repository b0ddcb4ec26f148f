/** An operator: it waits to lead, and then does its duties until it leads no more. */
import type { Logger } from 'pino';
import type { ApiServer } from '../agent/k8s/apiserver/client.ts';
import { delay, retryDelay } from '../agent/k8s/apiserver/retry.ts';
import type { EtcdClient } from '../agent/kvstore/etcd/client.ts';
import type { Clock } from '../agent/model/clock.ts';
import { errorText } from '../agent/model/errors.ts';
import { DEFAULT_DECODE_OPTIONS } from '../agent/policy/api/index.ts';
import type { OperatorConfig } from './config.ts';
import type { Duty, DutyContext } from './duty.ts';
import { EndpointGc } from './gc/endpoints.ts';
import { IdentityGc } from './gc/identities.ts';
import { NodeGc } from './gc/nodes.ts';
import { ClusterPool } from './ipam/cluster-pool.ts';
import { KvstoreIdentityGc } from './gc/kvstore-identities.ts';
import { KvstoreHeartbeat } from './kvstore-heartbeat.ts';
import { LeaderElection } from './leader-election.ts';
import { createMetrics, type OperatorMetrics } from './metrics.ts';
import { NodeTaints } from './node-taints.ts';
import { PolicyStatus } from './policy-status.ts';
import { registerDefinitions } from './register-definitions.ts';
import { EndpointSlices } from './slices/endpoint-slices.ts';

export interface OperatorOptions {
  readonly config: OperatorConfig;
  readonly server: ApiServer;
  /** Where identities are; absent: at the API server. */
  readonly store?: EtcdClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of this operator, as no other has it. */
  readonly identity: string;
}

/** How the store stands, as an annotation of the lease: `weir cluster status` shows it. */
const KVSTORE_STATUS = 'weir.io/kvstore';

export class Operator {
  readonly metrics: OperatorMetrics = createMetrics();
  readonly #options: OperatorOptions;
  readonly #context: DutyContext;
  readonly #heartbeat: KvstoreHeartbeat | undefined;
  #leads = false;

  constructor(options: OperatorOptions) {
    this.#options = options;
    const { server, clock, logger } = options;
    this.#context = { server, clock, logger, metrics: this.metrics, random: Math.random };
    this.#heartbeat = options.store && new KvstoreHeartbeat(this.#context, options.store);
    this.metrics.leader.set(0);
  }

  get leads(): boolean {
    return this.#leads;
  }

  /** Runs until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { config, server, clock, logger, identity } = this.#options;
    const election = new LeaderElection({
      ...{ server, clock, logger, identity },
      namespace: config.namespace,
      name: 'weir-operator',
      ...config.leaderElection,
      annotations: () => ({ ...(this.#heartbeat !== undefined && { [KVSTORE_STATUS]: this.#heartbeat.status }) }),
    });
    await election.run(signal, (leading) => this.#lead(leading));
  }

  async #lead(signal: AbortSignal): Promise<void> {
    this.#leads = true;
    this.metrics.leader.set(1);
    try {
      if (this.#options.config.registerDefinitions) await this.#register(signal);
      if (!signal.aborted) await Promise.all(this.#duties().map((duty) => duty.run(signal)));
    } finally {
      this.#leads = false;
      this.metrics.leader.set(0);
    }
  }

  /** Without its definitions the cluster has no use for anything else. */
  async #register(signal: AbortSignal): Promise<void> {
    const { server, clock, logger } = this.#options;
    for (let attempts = 1; !signal.aborted; attempts++) {
      try {
        await registerDefinitions({ server, clock, logger, signal });
        return;
      } catch (error) {
        logger.error(`the custom resources cannot be registered, and it is tried again: ${errorText(error)}`);
        await delay(clock, retryDelay(error, attempts, Math.random()), signal);
      }
    }
  }

  #identityGc(context: DutyContext): Duty {
    const { config, store } = this.#options;
    return store === undefined
      ? new IdentityGc(context, config.identityGc)
      : new KvstoreIdentityGc(context, store, config.identityGc);
  }

  #duties(): Duty[] {
    const { config } = this.#options;
    const context = this.#context;
    const { identityGc, endpointGcMs, nodeGcMs, clusterName } = config;
    return [
      ...(identityGc.intervalMs > 0 ? [this.#identityGc(context)] : []),
      ...(this.#heartbeat === undefined ? [] : [this.#heartbeat]),
      ...(endpointGcMs > 0 ? [new EndpointGc(context, endpointGcMs)] : []),
      ...(nodeGcMs > 0 ? [new NodeGc(context, nodeGcMs)] : []),
      ...(config.clusterPool === undefined ? [] : [new ClusterPool(context, config.clusterPool, config.namespace)]),
      ...(config.slices === undefined ? [] : [new EndpointSlices(context, config.slices)]),
      new NodeTaints(context),
      new PolicyStatus(context, { ...DEFAULT_DECODE_OPTIONS, ...config.decode, clusterName }),
    ];
  }
}
