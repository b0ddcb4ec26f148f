import type { Ipcache } from '../ipcache/ipcache.ts';
import { formatCidr, type Cidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { IpcacheEntry, IpcacheTarget } from '../model/datapath.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { Reconciler } from '../reconcile/reconciler.ts';
import type { ObjectType } from '../reconcile/target.ts';

/** Keeps the kernel's ipcache as the agent's is. */
export class KernelIpcache {
  readonly #reconciler: Reconciler<IpcacheEntry, Cidr>;

  constructor(options: {
    readonly ipcache: Ipcache;
    readonly target: IpcacheTarget;
    readonly type: ObjectType<IpcacheEntry, Cidr>;
    readonly clock: Clock;
    readonly onFailure: (prefix: Cidr, error: unknown) => void;
  }) {
    const { ipcache, target, type, clock } = options;
    this.#reconciler = new Reconciler({
      target,
      type,
      clock,
      random: Math.random,
      onFailure: (prefix, { error }) => options.onFailure(prefix, error),
    });
    ipcache.subscribe((changes) => {
      for (const { prefix, after } of changes) {
        if (after === undefined) this.#reconciler.delete(prefix);
        else this.#reconciler.set(after);
      }
    });
  }

  /**
   * Resolves when the kernel holds what is known of `prefixes` now.
   *
   * @throws WeirError BPF_MAP_FAILED when it cannot; it is tried again all the same.
   */
  async flush(prefixes: readonly Cidr[]): Promise<void> {
    await this.#reconciler.flush();
    for (const prefix of prefixes) {
      const status = this.#reconciler.status(prefix);
      if (status?.state !== 'failed') continue;
      throw new WeirError('BPF_MAP_FAILED', `${formatCidr(prefix)} cannot be written: ${errorText(status.error)}`, {
        object: 'map weir_ipcache',
        cause: status.error,
      });
    }
  }

  /** Takes away what nobody says any more: what the last run left. */
  prune(): Promise<void> {
    return this.#reconciler.prune();
  }

  counts(): { readonly done: number; readonly pending: number; readonly failed: number } {
    return this.#reconciler.counts();
  }

  close(): Promise<void> {
    return this.#reconciler.close();
  }
}
