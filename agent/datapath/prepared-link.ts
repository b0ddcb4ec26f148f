import type { IfIndex } from '../model/endpoint.ts';
import type { TcxLink } from '../kernel/tcx.ts';
import type { EndpointHook } from './pins.ts';
import type { WarmPrograms } from './warm-programs.ts';

/**
 * A new link with programs on it that belong to nobody yet, so that the kernel's wait for attaching them passes while the
 * agent finds out whose they are. The link is down, and they let nothing pass.
 */
export class PreparedLink implements AsyncDisposable {
  readonly ifindex: IfIndex;
  readonly programs: WarmPrograms;
  readonly #attaching: Promise<ReadonlyMap<EndpointHook, TcxLink>>;

  /** @param attaching the programs' links, not pinned; they become this object's */
  constructor(ifindex: IfIndex, programs: WarmPrograms, attaching: Promise<ReadonlyMap<EndpointHook, TcxLink>>) {
    this.ifindex = ifindex;
    this.programs = programs;
    this.#attaching = attaching;
    // Whoever takes the link into use hears of a failure; until then nobody has to.
    attaching.catch(() => undefined);
  }

  /** The programs are on the link; whoever pins them lets them stay. @throws KernelError SYSCALL_FAILED */
  attached(): Promise<ReadonlyMap<EndpointHook, TcxLink>> {
    return this.#attaching;
  }

  /** Takes off what was not pinned. */
  async [Symbol.asyncDispose](): Promise<void> {
    const [attaching] = await Promise.allSettled([this.#attaching]);
    const links = attaching.status === 'fulfilled' ? [...attaching.value.values()] : [];
    await Promise.all(links.map((link) => link.release()));
    this.programs[Symbol.dispose]();
  }
}
