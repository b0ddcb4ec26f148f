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
import type { PreparedLink } from './prepared-link.ts';
import { Turns } from './turns.ts';
import { WarmPool } from './warm-pool.ts';
import type { WarmPrograms } from './warm-programs.ts';

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
  /** How many sets of programs to load ahead of the endpoints that will need them; none when absent. */
  readonly warmPrograms?: number;
  /** Programs cannot be loaded ahead. */
  readonly onError?: (error: unknown) => void;
}

/** Endpoints on the kernel. Calls for one endpoint take turns; endpoints do not wait for each other. */
export class KernelDatapath implements EndpointDatapath, Disposable {
  readonly #options: DatapathOptions;
  readonly #turns = new Turns<EndpointId>();
  readonly #policies = new Map<EndpointId, OpenPolicy>();
  readonly #byIfIndex = new Map<IfIndex, EndpointId>();
  /** Links that are no endpoint's yet, by name: being made, or made, with programs on them if there were any ready. */
  readonly #beginnings = new Map<string, PreparedLink | undefined>();
  readonly #pool: WarmPool<WarmPrograms>;

  constructor(options: DatapathOptions) {
    this.#options = options;
    const { loader, policyMapSize, warmPrograms = 0, onError = () => undefined } = options;
    this.#pool = new WarmPool({ size: warmPrograms, make: () => loader.loadWarm(policyMapSize), onError });
  }

  async createLink(request: LinkRequest): Promise<EndpointLink> {
    const { hostIfName } = request;
    await this.#endBeginning(hostIfName);
    this.#beginnings.set(hostIfName, undefined);
    try {
      const link = await this.#options.devices.createLink(request);
      const programs = this.#pool.take();
      // Not waited for: the kernel takes its time, while the caller has an identity and a policy to find.
      if (programs !== undefined) {
        this.#beginnings.set(hostIfName, this.#options.loader.prepare(programs, link.hostIfIndex));
      }
      return link;
    } catch (error) {
      await this.#endBeginning(hostIfName);
      throw error;
    }
  }

  async deleteLink(hostIfName: string): Promise<void> {
    await this.#options.devices.deleteLink(hostIfName);
    await this.#endBeginning(hostIfName);
  }

  /**
   * Loads programs ahead for endpoints to come, on worker threads. Resolves when there are as many as wanted, or an
   * endpoint is being made, after which it goes on by itself.
   */
  warmUp(): Promise<void> {
    return this.#pool.fill(() => this.#beginnings.size > 0);
  }

  /** How many endpoints can be made without waiting for the verifier. */
  get warmPrograms(): number {
    return this.#pool.ready;
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
    void this.warmUp();
  }

  /** Gives up descriptors; everything in the kernel goes on enforcing. */
  [Symbol.dispose](): void {
    for (const { map } of this.#policies.values()) map.close();
    this.#policies.clear();
    this.#pool[Symbol.dispose]();
  }

  async #install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { maps, devices, routers } = this.#options;
    const { id, link } = program;
    const addresses = addressesOf(program);
    await using undo = new AsyncDisposableStack();
    const fresh = this.#isNew(id);
    if (fresh) undo.defer(() => this.#remove(id, addresses));
    const prepared = this.#beginnings.get(link.hostIfName);
    if (fresh && prepared?.ifindex === link.hostIfIndex) {
      try {
        await this.#takeOver(prepared, program, policy);
      } finally {
        await this.#endBeginning(link.hostIfName);
      }
    } else {
      // Programs that nobody asked for would stand beside those that are attached now.
      await this.#endBeginning(link.hostIfName);
      await this.#load(program, policy);
    }
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

  /**
   * Loads an endpoint's programs, or loads them again. The verifier first: what it refuses must not have changed the
   * policy. Then policy before programs: at no time does a packet pass that nobody judges.
   */
  async #load(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { loader, maps } = this.#options;
    const { id, link } = program;
    const opened = this.#open(id);
    using object = await loader.loadEndpoint(program, opened.map);
    await opened.policy.replace(policy);
    maps.call.set(id, object.program('policy_ingress').fd);
    await loader.attachEndpoint(object, id, link.hostIfIndex);
  }

  /** Makes the programs that are on a new link an endpoint's own. Nobody can deliver to it before. */
  async #takeOver(prepared: PreparedLink, program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { loader, maps, pins } = this.#options;
    const { id } = program;
    const { programs } = prepared;
    programs.embed(loader.configOf(program));
    programs.policyMap.pin(pins.policyMap(id));
    await this.#open(id).policy.replace(policy);
    await loader.pinEndpoint(prepared, id);
    maps.call.set(id, programs.program('policy_ingress').fd);
  }

  /** Takes off a link what was prepared on it and not taken over. */
  async #endBeginning(hostIfName: string): Promise<void> {
    const prepared = this.#beginnings.get(hostIfName);
    if (!this.#beginnings.delete(hostIfName)) return;
    await prepared?.[Symbol.asyncDispose]();
    // In the background: its faults are told to onError.
    void this.warmUp();
  }

  async #remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    const { pins, maps, devices, loader } = this.#options;
    const own = addresses.filter((address) => maps.lxc.get(address)?.id === id);
    maps.lxc.close(own, id);
    maps.call.delete(id);
    // Its link goes before its programs, which leave with it: nothing passes that nobody judges. Taking them off one by
    // one would make the kernel wait for each. Routes go with the link, too.
    const device = await loader.deviceOf(id);
    if (device === undefined) await devices.closeRoutes(own);
    else {
      await devices.deleteLink(device);
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

  /** Whether the kernel has nothing of the endpoint yet. */
  #isNew(id: EndpointId): boolean {
    using pinned = BpfMap.openPinned(this.#options.pins.policyMap(id));
    return pinned === undefined && !this.#policies.has(id);
  }

  /** Opens the endpoint's policy map; makes one when there is none. */
  #open(id: EndpointId): OpenPolicy {
    let opened = this.#policies.get(id);
    if (opened === undefined) {
      const { pins, maps, policyMapSize } = this.#options;
      const map = openOrCreate('weir_policy', pins.policyMap(id), policyMapSize);
      opened = { map, policy: new EndpointPolicy(id, map, maps.revisions) };
      this.#policies.set(id, opened);
    }
    return opened;
  }
}

function addressesOf({ ipv4, ipv6 }: EndpointProgram): readonly Address[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}
