/** Collects what the agent says of each packet, so that the demo can tell who decided and why. */
import { ApiClient } from '../../agent/api/client.ts';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import { waitFor } from '../harness/wait.ts';

const HOST = RESERVED_IDENTITY.host;

export interface Flow {
  /** Undefined for the node: the kernel chooses among its addresses. */
  readonly source: string | undefined;
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
  if (flow.source === undefined ? event.source.identity !== HOST : event.source.ip !== flow.source) return false;
  if (event.destination.ip !== flow.destination) return false;
  if (flow.protocol === 'icmp') return event.protocol.startsWith('ICMP');
  return event.protocol === flow.protocol.toUpperCase() && event.destination.port === flow.port;
}

/** Defaults that decide where no policy does, in words. */
const DEFAULTS: Readonly<Record<string, string>> = {
  'allow-any-ingress': 'default: no policy selects it',
  'allow-any-egress': 'default: no policy selects it',
  'allow-localhost-ingress': 'default: a node may reach its pods',
};

/** Who decided, in a few words: the policies of the deciding verdict, or the default that applied; and why it was dropped. */
export function decidedBy(events: readonly MonitorEvent[], seen: 'allow' | 'deny'): { by: string; reason: string } {
  const verdicts = events.filter((event) => event.type === 'policy-verdict');
  const drop = events.findLast((event) => event.type === 'drop');
  const deciding =
    seen === 'deny'
      ? (verdicts.findLast((event) => event.verdict === 'deny') ?? drop)
      : (verdicts.findLast((event) => isByPolicy(event) && event.direction === 'ingress') ??
        verdicts.findLast(isByPolicy) ??
        verdicts.at(-1));
  return { by: deciding === undefined ? '-' : decider(deciding), reason: drop?.reason ?? '' };
}

/** Whether a policy, rather than a default, decided. */
function isByPolicy({ policies = [] }: MonitorEvent): boolean {
  return policies.some((policy) => !(policy in DEFAULTS));
}

function decider({ direction, policies = [] }: MonitorEvent): string {
  return `${direction}: ${policies.map((policy) => DEFAULTS[policy] ?? policy).join(', ')}`;
}
