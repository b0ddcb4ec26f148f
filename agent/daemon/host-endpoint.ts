import type { EndpointManager } from '../endpoint/manager.ts';
import type { EndpointLink } from '../model/datapath.ts';
import type { Label } from '../model/labels.ts';

/** The node as an endpoint of its own (`--enable-host-firewall`): it is what its Node object says. */
export class HostEndpoint {
  readonly #manager: Pick<EndpointManager, 'enterHost' | 'setHostLabels'>;
  /** Undefined: the node is no endpoint. */
  readonly #link: EndpointLink | undefined;
  #labels: readonly Label[] = [];

  constructor(manager: Pick<EndpointManager, 'enterHost' | 'setHostLabels'>, link: EndpointLink | undefined) {
    this.#manager = manager;
    this.#link = link;
  }

  /** Labels of the Node object; none when there is no such object. */
  setLabels(labels: ReadonlyMap<string, string>): void {
    this.#labels = Array.from(labels, ([key, value]) => ({ source: 'k8s', key, value }));
    this.#manager.setHostLabels(this.#labels);
  }

  /** What existed at the start is known: the node goes under the policies that select it. */
  async begin(): Promise<void> {
    if (this.#link !== undefined) await this.#manager.enterHost(this.#link, this.#labels);
  }
}
