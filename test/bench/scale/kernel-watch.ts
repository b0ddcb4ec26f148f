/** Looks into policy maps of an agent for what a change should have made of them. */
import { setTimeout as pause } from 'node:timers/promises';
import { encodePolicyKey, isEntryOf } from '../../../agent/datapath/maps/policymap.ts';
import { BpfMap } from '../../../agent/kernel/bpf-map.ts';
import { identityId } from '../../../agent/model/identity.ts';
import type { Direction, PolicyKey } from '../../../agent/model/mapstate.ts';
import { PROTOCOL } from '../../../agent/model/port.ts';

/** A peer that is to be let through, or no longer. */
export interface Expected {
  readonly direction: Direction;
  readonly identity: number;
  readonly port: number;
  readonly present: boolean;
}

/** Milliseconds after which an expectation counts as failed, also on a machine that is busy with other things. */
const LIMIT_MS = 300_000;

export class KernelWatch implements Disposable {
  readonly #maps: readonly BpfMap[];

  /** @param endpoints numbers of the endpoints whose maps are looked into */
  constructor(bpfRoot: string, endpoints: readonly number[]) {
    this.#maps = endpoints.map((id) => BpfMap.openPinned(`${bpfRoot}/weir_policy_${id}`)!);
  }

  /**
   * Resolves with the time, by the monotonic clock in nanoseconds, when all maps were seen as expected.
   *
   * @param only looks into the first map alone
   */
  async see(expected: readonly Expected[], only: 'first' | 'all'): Promise<bigint> {
    const maps = only === 'first' ? this.#maps.slice(0, 1) : this.#maps;
    let open = maps.flatMap((map) =>
      expected.map((one) => ({ map, one, present: one.present, key: encodePolicyKey(keyOf(one)) })),
    );
    const deadline = Date.now() + LIMIT_MS;
    for (;;) {
      open = open.filter(({ map, key, present }) => {
        const value = map.lookup(key);
        return (value !== undefined && isEntryOf(key, value)) !== present;
      });
      if (open.length === 0) return process.hrtime.bigint();
      if (Date.now() > deadline)
        throw new Error(
          `${open.length} of ${maps.length * expected.length} are not so: ${JSON.stringify(open[0]!.one)}`,
        );
      await pause(1);
    }
  }

  [Symbol.dispose](): void {
    for (const map of this.#maps) map[Symbol.dispose]();
  }
}

function keyOf({ direction, identity, port }: Omit<Expected, 'present'>): PolicyKey {
  return { direction, identity: identityId(identity), protocol: PROTOCOL.TCP, port, portPrefix: 16 };
}
