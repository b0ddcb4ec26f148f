/** Looks into an agent's maps in the kernel for what should have become of them. */
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

/** How many addresses and prefixes the kernel knows the identity of. */
export async function ipcacheSize(bpfRoot: string): Promise<number> {
  using map = BpfMap.openPinned(`${bpfRoot}/weir_ipcache`)!;
  let size = 0;
  for await (const _ of map.entries()) size++;
  return size;
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
    const wanted = expected.map((one) => ({ one, present: one.present, key: encodePolicyKey(keyOf(one)) }));
    // Of each map the first that is not so yet stands for the rest: looking costs the processors that are being measured.
    const open = maps.map((map) => ({ map, left: [...wanted] }));
    const deadline = Date.now() + LIMIT_MS;
    for (;;) {
      for (const { map, left } of open) {
        while (left.length > 0) {
          const { key, present } = left.at(-1)!;
          const value = map.lookup(key);
          if ((value !== undefined && isEntryOf(key, value)) !== present) break;
          left.pop();
        }
      }
      const late = open.filter(({ left }) => left.length > 0);
      if (late.length === 0) return process.hrtime.bigint();
      if (Date.now() > deadline) {
        const count = late.reduce((sum, { left }) => sum + left.length, 0);
        const total = maps.length * expected.length;
        throw new Error(`${count} of ${total} are not so: ${JSON.stringify(late[0]!.left.at(-1)!.one)}`);
      }
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
