import type { EndpointId, IfIndex } from '../model/endpoint.ts';
import { ERRNO, isErrno } from '../kernel/errno.ts';
import type { LoadedProgram } from '../kernel/bpf-object.ts';
import type { TcxHook } from '../kernel/tcx.ts';
import type { Devices } from './devices.ts';
import { ENDPOINT_HOOKS, type Loader } from './loader.ts';
import { type EndpointPrograms, Settling } from './settling.ts';
import type { Turns } from './turns.ts';

export interface AttachmentsOptions {
  readonly loader: Loader;
  readonly devices: Devices;
  /** Settling an endpoint takes its turn among what else is done with it. */
  readonly turns: Turns<EndpointId>;
  /** Whether endpoints are being made: settling waits. */
  readonly isBusy: () => boolean;
  readonly onError: (error: unknown) => void;
}

/** What holds endpoints' programs on their links: tc filters at first, TCX links soon after (see {@link Settling}). */
export class Attachments implements Disposable {
  readonly #options: AttachmentsOptions;
  readonly #settling: Settling;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
    const { turns, isBusy, onError } = options;
    this.#settling = new Settling({ settle: ({ id }) => turns.run(id, () => this.#settle(id)), isBusy, onError });
  }

  /**
   * Puts programs on a new link: by filters, or straight by TCX on a kernel built without those. They become this object's.
   *
   * @throws NetlinkError NETLINK_FAILED; KernelError SYSCALL_FAILED
   */
  async begin(programs: EndpointPrograms, id: EndpointId, ifindex: IfIndex): Promise<void> {
    this.#settling.add({ id, ifindex, programs });
    try {
      await this.#options.devices.addFilters(ifindex, hooked(programs));
    } catch (error) {
      // No clsact or no cls_bpf, which are the kernel's to have or not (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF).
      if (!isErrno(error, ERRNO.ENOENT)) throw error;
      await this.hold(programs, id, ifindex);
    }
  }

  /**
   * Has TCX links hold programs; what they held before is replaced without losing a packet. TCX comes first on a link and
   * lets nothing through to filters: at no time does a packet pass that nobody judges.
   *
   * @throws KernelError SYSCALL_FAILED
   */
  async hold(programs: EndpointPrograms, id: EndpointId, ifindex: IfIndex): Promise<void> {
    const { loader, devices } = this.#options;
    await loader.attachEndpoint(programs, id, ifindex);
    // Our own, or those that an agent left that was killed.
    if (await devices.hasFilters(ifindex)) await devices.removeFilters(ifindex);
    this.#settling.forget(id);
  }

  /** Whether an endpoint's programs are on that link. */
  async isAttached(id: EndpointId, ifindex: IfIndex): Promise<boolean> {
    return (await this.#options.loader.isAttached(id, ifindex)) || (await this.#options.devices.hasFilters(ifindex));
  }

  /** The device that an endpoint's programs are on; undefined when there is none any more. */
  async deviceOf(id: EndpointId): Promise<IfIndex | undefined> {
    return (await this.#options.loader.deviceOf(id)) ?? this.#settling.get(id)?.ifindex;
  }

  /** Lets go of an endpoint whose link is gone. */
  async detach(id: EndpointId): Promise<void> {
    await this.#options.loader.detachEndpoint(id);
    this.#settling.forget(id);
  }

  /** Goes on with what had to wait. Resolves when each endpoint was tried, or others are being made; faults go to onError. */
  settle(): Promise<void> {
    return this.#settling.run();
  }

  async #settle(id: EndpointId): Promise<void> {
    const one = this.#settling.get(id);
    if (one !== undefined) await this.hold(one.programs, id, one.ifindex);
  }

  /** Gives up descriptors; what is attached stays. */
  [Symbol.dispose](): void {
    this.#settling[Symbol.dispose]();
  }
}

function hooked(programs: EndpointPrograms): Record<TcxHook, LoadedProgram> {
  const hooks = Object.entries(ENDPOINT_HOOKS).map(([name, hook]) => [hook, programs.program(name)]);
  return Object.fromEntries(hooks) as Record<TcxHook, LoadedProgram>;
}
