/** Collects what the agent says of each packet, so that the demo can tell who decided and why. */
import { ApiClient } from '../../agent/api/client.ts';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { waitFor } from '../harness/wait.ts';

export interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
}

/** The stream of `GET /v1/monitor`, kept. */
export class Decisions implements AsyncDisposable {
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #events: MonitorEvent[] = [];

  constructor(socket: string) {
    this.#done = this.#collect(new ApiClient(socket));
  }

  /** Forgets what was seen so far. */
  clear(): void {
    this.#events = [];
  }

  /** The events about a flow's own direction, drops first, then verdicts of the endpoint nearest to the destination. */
  async about(flow: Flow): Promise<readonly MonitorEvent[]> {
    const matching = (): MonitorEvent[] => this.#events.filter((event) => matches(event, flow));
    try {
      await waitFor('an event', () => matching().length > 0, 1_500);
    } catch (error) {
      if (this.#events.length === 0) throw error;
      return [];
    }
    return matching();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #collect(client: ApiClient): Promise<void> {
    try {
      for await (const event of client.monitor(this.#abort.signal)) this.#events.push(event);
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }
}

function matches(event: MonitorEvent, flow: Flow): boolean {
  if (event.type === 'trace' || event.reply === true) return false;
  if (event.source.ip !== flow.source || event.destination.ip !== flow.destination) return false;
  if (flow.protocol === 'icmp') return event.protocol.startsWith('ICMP');
  return event.protocol === flow.protocol.toUpperCase() && event.destination.port === flow.port;
}

/** Who decided, in a few words: the policies named by the deciding verdict, or the default that applied. */
export function decidedBy(events: readonly MonitorEvent[], seen: 'allow' | 'deny'): { by: string; reason: string } {
  const verdicts = events.filter((event) => event.type === 'policy-verdict');
  const drop = events.findLast((event) => event.type === 'drop');
  if (seen === 'deny') {
    const denial = verdicts.findLast((event) => event.verdict === 'deny');
    const policies = denial?.policies ?? drop?.policies ?? [];
    const direction = denial?.direction ?? drop?.direction;
    return {
      by: policies.length > 0 ? `${direction ?? ''}: ${policies.join(', ')}` : '-',
      reason: drop?.reason ?? '-',
    };
  }
  const named = verdicts.filter((event) => (event.policies ?? []).length > 0);
  const deciding = named.findLast((event) => event.direction === 'ingress') ?? named.at(-1);
  if (deciding === undefined) return { by: 'default: no policy selects the pods', reason: '' };
  return { by: `${deciding.direction}: ${deciding.policies!.join(', ')}`, reason: '' };
}
