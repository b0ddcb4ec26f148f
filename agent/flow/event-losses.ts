import { EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE } from '../../bpf/gen/constants.ts';
import { decode, encode, eventAccount, u32 } from '../../bpf/gen/structs.ts';
import type { MapHandle } from '../kernel/bpf-map.ts';
import type { Clock } from '../model/clock.ts';
import type { Missed } from './broadcast.ts';
import type { FlowEvent } from './event.ts';

/** How many events nobody got to see, and why. */
export interface LeftOut {
  /** There was no room for them in the ring buffer: the agent was too slow. */
  readonly lost: number;
  /** They were more than the rate limit lets through. */
  readonly limited: number;
}

export type LeftOutByType = Readonly<Record<FlowEvent['type'], LeftOut>>;

/** How often the kernel is asked, in milliseconds. */
const INTERVAL = 1_000;

const TYPES: readonly (readonly [FlowEvent['type'], number])[] = [
  ['drop', EVENT_DROP],
  ['trace', EVENT_TRACE],
  ['policy-verdict', EVENT_POLICY_VERDICT],
];

/** Follows what the programs left out of `weir_events`, which they count in `weir_event_accounts`. */
export class EventLosses {
  readonly #map: MapHandle;
  readonly #clock: Clock;
  readonly #onMissed: (missed: Missed) => void;
  /** Counted before the start. */
  readonly #before: LeftOutByType;
  #now: LeftOutByType;
  #cancel: (() => void) | undefined;

  /**
   * @param onMissed hears of each type, and each reason, what was left out since the last time
   * @throws KernelError BPF_MAP_FAILED
   */
  constructor(map: MapHandle, clock: Clock, onMissed: (missed: Missed) => void) {
    this.#map = map;
    this.#clock = clock;
    this.#onMissed = onMissed;
    this.#before = this.#now = readLeftOut(map);
    this.#schedule();
  }

  /** Left out since the start. */
  get totals(): LeftOutByType {
    const since = ({ lost, limited }: LeftOut, before: LeftOut): LeftOut => ({
      lost: lost - before.lost,
      limited: limited - before.limited,
    });
    return {
      drop: since(this.#now.drop, this.#before.drop),
      trace: since(this.#now.trace, this.#before.trace),
      'policy-verdict': since(this.#now['policy-verdict'], this.#before['policy-verdict']),
    };
  }

  stop(): void {
    this.#cancel?.();
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(INTERVAL, () => {
      this.#look();
      this.#schedule();
    });
  }

  #look(): void {
    const before = this.#now;
    this.#now = readLeftOut(this.#map);
    for (const [type] of TYPES) {
      for (const cause of ['lost', 'limited'] as const) {
        const count = this.#now[type][cause] - before[type][cause];
        if (count > 0) this.#onMissed({ count, cause, kind: type });
      }
    }
  }
}

/** What is counted in `weir_event_accounts`, over all CPUs. */
export function readLeftOut(map: MapHandle): LeftOutByType {
  const of = (type: number): LeftOut => {
    const perCpu = map.lookup(encode(u32, type));
    const sum = { lost: 0, limited: 0 };
    for (let at = 0; perCpu !== undefined && at + eventAccount.size <= perCpu.length; at += eventAccount.size) {
      const { lost, limited } = decode(eventAccount, perCpu.subarray(at));
      sum.lost += Number(lost);
      sum.limited += Number(limited);
    }
    return sum;
  };
  return { drop: of(EVENT_DROP), trace: of(EVENT_TRACE), 'policy-verdict': of(EVENT_POLICY_VERDICT) };
}
