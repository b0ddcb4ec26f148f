import type { Address } from '../model/address.ts';
import type { EndpointDatapath, EndpointLink, EndpointProgram, LinkRequest, LinkStatus } from '../model/datapath.ts';
import type { EndpointId, IfIndex } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { MapStateChanges, MapStateView } from '../model/mapstate.ts';
import { BpfMap } from '../kernel/bpf-map.ts';
import type { Devices } from './devices.ts';
import type { Loader } from './loader.ts';
import { EndpointPolicy } from './maps/endpoint-policy.ts';
import type { NodeMaps } from './node-maps.ts';
import { openOrCreate } from './node-maps.ts';
import { removePin, type Pins } from './pins.ts';
import { Turns } from './turns.ts';

/** An endpoint's policy map, open. */
interface OpenPolicy {
  readonly map: BpfMap;
  readonly policy: EndpointPolicy;
}

export interface DatapathOptions {
  readonly pins: Pins;
  readonly maps: NodeMaps;
  readonly loader: Loader;
  readonly devices: Devices;
  /** The addresses that the host speaks to pods with: the router's. */
  readonly routers: readonly Address[];
  /** Entries of each endpoint's policy map; that of bpf/lib/maps.h when absent. */
  readonly policyMapSize?: number;
}

/** Endpoints on the kernel. Calls for one endpoint take turns; endpoints do not wait for each other. */
export class KernelDatapath implements EndpointDatapath, Disposable {
  readonly #options: DatapathOptions;
  readonly #turns = new Turns<EndpointId>();
  readonly #policies = new Map<EndpointId, OpenPolicy>();
  readonly #byIfIndex = new Map<IfIndex, EndpointId>();

  constructor(options: DatapathOptions) {
    this.#options = options;
  }

  createLink(request: LinkRequest): Promise<EndpointLink> {
    return this.#options.devices.createLink(request);
  }

  deleteLink(hostIfName: string): Promise<void> {
    return this.#options.devices.deleteLink(hostIfName);
  }

  async linkStatus(link: EndpointLink, netns: string): Promise<LinkStatus> {
    const id = this.#byIfIndex.get(link.hostIfIndex);
    const attached = id !== undefined && (await this.#options.loader.isAttached(id, link.hostIfIndex));
    return { ...(await this.#options.devices.status(link, netns)), attached };
  }

  /** Endpoints whose policy does not fit their map: all their traffic is dropped. */
  lockdowns(): readonly EndpointId[] {
    return [...this.#policies].filter(([, { policy }]) => policy.lockedDown).map(([id]) => id);
  }

  install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    return this.#turns.run(program.id, () => this.#install(program, policy));
  }

  /** @throws WeirError ENDPOINT_NOT_FOUND, BPF_MAP_FULL (the endpoint is in lockdown until a whole policy fits) */
  updatePolicy(id: EndpointId, changes: MapStateChanges): Promise<void> {
    return this.#turns.run(id, () => this.#installed(id).policy.update(changes));
  }

  /** @throws WeirError ENDPOINT_NOT_FOUND, BPF_MAP_FULL (the endpoint is in lockdown until a whole policy fits) */
  replacePolicy(id: EndpointId, policy: MapStateView): Promise<void> {
    return this.#turns.run(id, () => this.#installed(id).policy.replace(policy));
  }

  remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    return this.#turns.run(id, () => this.#remove(id, addresses));
  }

  /** Call it when all known endpoints are installed again, and before new ones are created. */
  async prune(known: ReadonlySet<EndpointId>): Promise<void> {
    const { pins, maps, devices, loader } = this.#options;
    const stale: Address[] = [];
    for await (const [address, { id, host }] of maps.lxc.entries()) if (!host && !known.has(id)) stale.push(address);
    for (const id of pins.endpoints()) if (!known.has(id)) await this.remove(id, stale);
    // What stands in weir_lxc without any pin.
    await maps.lxc.prune((id) => known.has(id));
    await this.#forget(stale);
    const kept = new Set(await Promise.all([...known].map((id) => loader.deviceOf(id))));
    const lost = devices.endpointLinks().filter(({ index }) => !kept.has(index));
    await Promise.all(lost.map(({ name }) => devices.deleteLink(name)));
  }

  /** Gives up descriptors; everything in the kernel goes on enforcing. */
  [Symbol.dispose](): void {
    for (const { map } of this.#policies.values()) map.close();
    this.#policies.clear();
  }

  async #install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { loader, maps, devices, routers } = this.#options;
    const { id, link } = program;
    const addresses = addressesOf(program);
    await using undo = new AsyncDisposableStack();
    const fresh = this.#open(id);
    if (fresh) undo.defer(() => this.#remove(id, addresses));
    const opened = this.#policies.get(id)!;
    // The verifier first: what it refuses must not have changed the policy. Then policy before programs, programs before
    // delivery: at no time does a packet pass that nobody judges.
    using object = await loader.loadEndpoint(program, opened.map);
    await opened.policy.replace(policy);
    maps.call.set(id, object.program('policy_ingress').fd);
    await loader.attachEndpoint(object, id, link.hostIfIndex);
    maps.lxc.open(addresses, {
      id,
      identity: program.identity,
      ifIndex: link.hostIfIndex,
      mac: link.containerMac,
      hostMac: link.hostMac,
      host: false,
    });
    await devices.open(link, addresses, routers);
    this.#byIfIndex.set(link.hostIfIndex, id);
    undo.move();
  }

  async #remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    const { pins, maps, devices, loader } = this.#options;
    const own = addresses.filter((address) => maps.lxc.get(address)?.id === id);
    maps.lxc.close(own, id);
    maps.call.delete(id);
    await devices.closeRoutes(own);
    // A link that is still there is switched off before its programs go: nothing passes that nobody judges.
    const device = await loader.deviceOf(id);
    if (device !== undefined) {
      await devices.shut(device);
      this.#byIfIndex.delete(device);
    }
    await loader.detachEndpoint(id);
    this.#policies.get(id)?.map.close();
    this.#policies.delete(id);
    await removePin(pins.policyMap(id));
    if (maps.revisions.isLockedDown(id)) maps.revisions.setLockdown(id, false);
    await this.#forget(addresses);
  }

  /** Forgets the connections of addresses that nobody has: the next owner must not inherit verdicts. */
  async #forget(addresses: readonly Address[]): Promise<void> {
    const { maps } = this.#options;
    const free = addresses.filter((address) => maps.lxc.get(address) === undefined);
    for (const conntrack of maps.conntrack) await conntrack.deleteLocal(free);
  }

  #installed(id: EndpointId): OpenPolicy {
    const opened = this.#policies.get(id);
    if (opened !== undefined) return opened;
    throw new WeirError('ENDPOINT_NOT_FOUND', 'the endpoint has no programs in the kernel', {
      object: `endpoint ${id}`,
    });
  }

  /** Opens the endpoint's policy map. @returns whether there was none: the endpoint is new to the kernel */
  #open(id: EndpointId): boolean {
    if (this.#policies.has(id)) return false;
    const { pins, maps, policyMapSize } = this.#options;
    const pin = pins.policyMap(id);
    using before = BpfMap.openPinned(pin);
    const map = openOrCreate('weir_policy', pin, policyMapSize);
    this.#policies.set(id, { map, policy: new EndpointPolicy(id, map, maps.revisions) });
    return before === undefined;
  }
}

function addressesOf({ ipv4, ipv6 }: EndpointProgram): readonly Address[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}
