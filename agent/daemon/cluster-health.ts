import type { Status } from '../api/models.ts';
import type { HealthConfig } from '../config/health.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import { HealthChecker, type Probes } from '../health/checker.ts';
import { reachability, unreachableParts, type HealthReport } from '../health/report.ts';
import type { Families } from '../identity/cidr-labels.ts';
import { addressesOf, type Addressing, type Ipam } from '../ipam/ipam.ts';
import { addressEquals, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { ClusterNode } from '../model/node.ts';
import type { NodeSource } from '../nodes/node-table.ts';
import { HealthEndpoint, type HealthNamespace } from './health-endpoint.ts';
import { HealthMetrics } from './health-metrics.ts';

/** What health checking needs of the machine; `open-health.ts` makes the real one, tests make others. */
export interface HealthParts {
  readonly probes: Probes;
  /** Answers probes at the addresses of the node. */
  respondOnNode(): Promise<Disposable>;
  openNamespace(): HealthNamespace;
}

export interface ClusterHealthOptions {
  readonly config: HealthConfig;
  readonly parts: HealthParts;
  readonly stateDir: string;
  readonly clusterName: string;
  readonly clock: Clock;
  readonly families: Families;
  readonly nodes: NodeSource;
  /** Addresses of this node, as far as they can be seen here. */
  readonly detected: () => readonly Address[];
  readonly manager: Pick<EndpointManager, 'create' | 'removeAt'>;
  readonly ipam: Ipam;
  /** The health endpoint has addresses, or others than before. */
  readonly onEndpoint: () => void;
  readonly onError: (message: string, error: unknown) => void;
}

/** Nodes that `weir status` names; the rest are counted. */
const NAMED = 5;

/** Whether the nodes can reach each other: this one's part in it, from both sides. */
export class ClusterHealth {
  readonly checker: HealthChecker;
  readonly metrics: HealthMetrics;
  readonly #options: ClusterHealthOptions;
  readonly #endpoint: HealthEndpoint | undefined;
  #responder: Disposable | undefined;
  #unsubscribe: (() => void) | undefined;
  #stopped = false;

  constructor(options: ClusterHealthOptions) {
    const { config, parts, clock, families, nodes, onEndpoint, clusterName } = options;
    this.#options = options;
    this.metrics = new HealthMetrics(clusterName, nodes.self);
    this.checker = new HealthChecker({
      ...{ self: nodes.self, probes: parts.probes, clock, baseMs: config.intervalMs },
      nodes: () => this.#nodes(),
      families: [...(families.ipv4 ? [4 as const] : []), ...(families.ipv6 ? [6 as const] : [])],
      onAnswer: (answer) => this.metrics.observe(answer),
    });
    const openNamespace = (): HealthNamespace => parts.openNamespace();
    const onChange = (): void => {
      onEndpoint();
      this.checker.nodesChanged();
    };
    if (config.endpoint) this.#endpoint = new HealthEndpoint({ ...options, openNamespace, onChange });
  }

  /** Addresses of the health endpoint; none while there is none. */
  get addressing(): Addressing {
    return this.#endpoint?.addressing ?? {};
  }

  /** Everything that existed at the start is known and enforced. Resolves when probes are answered here, or cannot be yet. */
  async begin(): Promise<void> {
    const { parts, nodes, onError } = this.#options;
    const responding = parts.respondOnNode().then(
      (responder) => {
        this.#responder = responder;
        if (this.#stopped) responder[Symbol.dispose]();
      },
      (error: unknown) => onError('probes of this node stay without an answer', error),
    );
    this.#unsubscribe = nodes.subscribe(() => this.checker.nodesChanged());
    this.checker.start();
    await Promise.all([responding, this.#endpoint?.begin()]);
  }

  stop(): void {
    this.#stopped = true;
    this.#unsubscribe?.();
    this.checker.stop();
    this.#endpoint?.stop();
    this.#responder?.[Symbol.dispose]();
  }

  /** In a word, for the state of the agent. */
  status(): Status {
    const failure = this.#endpoint?.failure;
    if (failure !== undefined) return { state: 'Failure', msg: `there is no health endpoint: ${failure}` };
    return { state: 'Ok', msg: summary(this.checker.report()) };
  }

  /** All nodes; of this one what is known here goes before what others were told of it. */
  #nodes(): readonly ClusterNode[] {
    const { nodes, ipam, detected } = this.#options;
    const routers = addressesOf(ipam.routers);
    const seen = detected().filter((address) => !routers.some((router) => addressEquals(router, address)));
    const own = nodes.get(nodes.self) ?? {
      ...{ name: nodes.self, podCidrs: [], health: [], ingress: [] },
      addresses: seen.map((address) => ({ type: 'InternalIP' as const, address })),
    };
    const others = nodes.nodes().filter(({ name }) => name !== nodes.self);
    return [{ ...own, health: addressesOf(this.addressing) }, ...others];
  }
}

function summary({ nodes }: HealthReport): string {
  const well = nodes.filter(({ host, endpoint }) => {
    return reachability(host) === 'reachable' && (endpoint.length === 0 || reachability(endpoint) === 'reachable');
  });
  const bad = nodes.flatMap((node) => {
    const parts = unreachableParts(node);
    return parts.length === 0 ? [] : [`${node.name} (${parts.join(' and ')})`];
  });
  const more = bad.length > NAMED ? ` and ${bad.length - NAMED} more` : '';
  const unreachable = bad.length === 0 ? '' : `, unreachable: ${bad.slice(0, NAMED).join(', ')}${more}`;
  return `${well.length}/${nodes.length} reachable${unreachable}`;
}
