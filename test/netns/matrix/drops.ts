/** What the nodes say they dropped. */
import type { MonitorEvent } from '../../../agent/api/models.ts';
import type { Cluster } from '../../harness/cluster.ts';
import type { Family, Pair, Protocol } from './places.ts';

/** Listens to the drops of every node, from its making on. */
export class Drops implements AsyncDisposable {
  readonly #gone = new AbortController();
  readonly #listening: Promise<void>[];
  #events: MonitorEvent[] = [];
  #lost = 0;

  constructor(cluster: Cluster) {
    this.#listening = cluster.members.map(async ({ api }) => {
      try {
        for await (const event of api.monitor(this.#gone.signal, { types: ['drop'] })) this.#take(event);
      } catch (error) {
        if (!this.#gone.signal.aborted) throw error;
      }
    });
  }

  /** Events that the agents could not deliver. */
  get lost(): number {
    return this.#lost;
  }

  forget(): void {
    this.#events = [];
  }

  /** The drops of a pair's packets, whichever node dropped them, either way. */
  of({ source, target }: Pair, protocol: Protocol, family: Family): readonly MonitorEvent[] {
    const name = protocol === 'icmp' ? (family === 4 ? 'ICMP' : 'ICMPv6') : protocol.toUpperCase();
    const senders = [...source.sources, ...(target.asked ?? [])];
    const answers = [target.address(family), ...target.place.sources];
    return this.#events.filter(
      (event) =>
        event.protocol === name &&
        senders.includes(event.source.ip) &&
        answers.includes(event.destination.ip) &&
        (protocol === 'icmp' || [target.port, 8080].includes(event.destination.port)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort();
    await Promise.all(this.#listening);
  }

  #take(event: MonitorEvent): void {
    this.#lost += event.lost ?? 0;
    this.#events.push(event);
  }
}
