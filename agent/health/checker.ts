import { formatAddress, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { nodeAddress, type ClusterNode } from '../model/node.ts';
import {
  PROTOCOLS,
  type HealthReport,
  type NodeHealth,
  type Outcome,
  type PathHealth,
  type Protocol,
} from './report.ts';

/** Asks an address once by each protocol: nanoseconds until the answer. */
export type Probes = Readonly<Record<Protocol, (address: Address) => Promise<number>>>;

export interface HealthCheckerOptions {
  readonly self: string;
  /** The nodes to probe, this one among them. */
  readonly nodes: () => readonly ClusterNode[];
  /** Families that pods have here: others are not probed. */
  readonly families: readonly (4 | 6)[];
  readonly probes: Probes;
  readonly clock: Clock;
  /** Every node is probed once in so many milliseconds, times ln(nodes + 1). */
  readonly baseMs: number;
  /** Hears of every answer. */
  readonly onAnswer?: (answer: Answer) => void;
}

/** An address answered. */
export interface Answer {
  readonly type: 'node' | 'endpoint';
  readonly protocol: Protocol;
  readonly primary: boolean;
  readonly nanoseconds: number;
}

/** A node that was never probed has its turn after so long at most, in milliseconds: hundreds may come at once. */
const NEWCOMER_MS = 100;
/** Nodes that are probed at once when somebody wants to know now. */
const PARALLEL = 32;

/**
 * Probes all nodes in turn, spread evenly over an interval that grows with their number, so that neither one node nor the
 * network feels the size of the cluster. Keeps what came of it last.
 */
export class HealthChecker {
  readonly #options: HealthCheckerOptions;
  readonly #results = new Map<string, NodeHealth>();
  /** When each node was probed last, milliseconds since the epoch; by name, the longest ago first. */
  readonly #probed = new Map<string, number>();
  readonly #inFlight = new Map<string, Promise<void>>();
  #cancel: (() => void) | undefined;
  #at: number | undefined;
  #all: Promise<void> | undefined;
  #running = false;

  constructor(options: HealthCheckerOptions) {
    this.#options = options;
  }

  /** Probes from now on. */
  start(): void {
    this.#running = true;
    this.#schedule();
  }

  stop(): void {
    this.#running = false;
    this.#cancel?.();
  }

  /** Nodes came, went, or have other addresses. */
  nodesChanged(): void {
    if (this.#running) this.#schedule();
  }

  /** How long it takes until each of `nodes` nodes was probed, in milliseconds. */
  get intervalMs(): number {
    return this.#options.baseMs * Math.log(this.#options.nodes().length + 1);
  }

  /** What is known now. */
  report(): HealthReport {
    const { self, nodes } = this.#options;
    const known = nodes().map((node) => this.#known(node));
    return {
      self,
      nodes: known.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      at: this.#at,
      intervalMs: this.intervalMs,
    };
  }

  /** Probes all nodes now. Whoever asks while that goes on waits for the same. */
  async probeAll(): Promise<HealthReport> {
    this.#all ??= this.#probeAll().finally(() => (this.#all = undefined));
    await this.#all;
    return this.report();
  }

  async #probeAll(): Promise<void> {
    const queue = [...this.#options.nodes()];
    const worker = async (): Promise<void> => {
      for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
        // A probe on its way may have been answered before whatever made somebody ask.
        await this.#inFlight.get(node.name);
        await this.#probe(node);
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, queue.length) }, worker));
  }

  #schedule(): void {
    this.#cancel?.();
    const nodes = this.#options.nodes();
    if (nodes.length === 0) return;
    const turn = this.intervalMs / nodes.length;
    const newcomers = nodes.some(({ name }) => !this.#probed.has(name));
    this.#cancel = this.#options.clock.after(newcomers ? Math.min(turn, NEWCOMER_MS) : turn, () => this.#turn());
  }

  #turn(): void {
    const nodes = new Map(this.#options.nodes().map((node) => [node.name, node]));
    for (const name of this.#probed.keys()) {
      if (nodes.has(name)) continue;
      this.#probed.delete(name);
      this.#results.delete(name);
    }
    const newcomer = [...nodes.values()].find(({ name }) => !this.#probed.has(name));
    const next = newcomer ?? nodes.get(this.#probed.keys().next().value ?? '');
    if (next !== undefined) void this.#probe(next);
    this.#schedule();
  }

  /** Probes every address of a node; faults are outcomes. One that is being probed is not probed twice. */
  #probe(node: ClusterNode): Promise<void> {
    const { name } = node;
    const standing = this.#inFlight.get(name);
    if (standing !== undefined) return standing;
    // Last in the order of turns.
    this.#probed.delete(name);
    this.#probed.set(name, this.#options.clock.now());
    const work = this.#probePaths(node).finally(() => this.#inFlight.delete(name));
    this.#inFlight.set(name, work);
    return work;
  }

  async #probePaths(node: ClusterNode): Promise<void> {
    const { host, endpoint } = this.#targets(node);
    const [hosts, endpoints] = await Promise.all([
      Promise.all(host.map((address, i) => this.#probePath(address, 'node', i === 0))),
      Promise.all(endpoint.map((address, i) => this.#probePath(address, 'endpoint', i === 0))),
    ]);
    this.#results.set(node.name, { name: node.name, host: hosts, endpoint: endpoints });
    this.#at = this.#options.clock.now();
  }

  async #probePath(address: Address, type: Answer['type'], primary: boolean): Promise<PathHealth> {
    const { probes, clock, onAnswer } = this.#options;
    const probe = async (protocol: Protocol): Promise<Outcome> => {
      try {
        const nanoseconds = await probes[protocol](address);
        onAnswer?.({ type, protocol, primary, nanoseconds });
        return { kind: 'answered', nanoseconds, at: clock.now() };
      } catch (error) {
        return { kind: 'failed', message: error instanceof Error ? error.message : String(error), at: clock.now() };
      }
    };
    const [icmp, http] = await Promise.all(PROTOCOLS.map(probe));
    return { address, icmp: icmp!, http: http! };
  }

  /** A node as it is now, with what was found of the addresses that it still has. */
  #known(node: ClusterNode): NodeHealth {
    const last = this.#results.get(node.name);
    const of = (addresses: readonly Address[], paths: readonly PathHealth[] = []): PathHealth[] =>
      addresses.map((address) => {
        const text = formatAddress(address);
        return paths.find((path) => formatAddress(path.address) === text) ?? { address };
      });
    const { host, endpoint } = this.#targets(node);
    return { name: node.name, host: of(host, last?.host), endpoint: of(endpoint, last?.endpoint) };
  }

  #targets(node: ClusterNode): { readonly host: readonly Address[]; readonly endpoint: readonly Address[] } {
    const { families } = this.#options;
    return {
      host: families.flatMap((family) => nodeAddress(node, family) ?? []),
      endpoint: families.flatMap((family) => node.health.find((address) => address.family === family) ?? []),
    };
  }
}
