import type { Address } from '../model/address.ts';
import { NO_LIMITS, type BandwidthLimits } from '../model/bandwidth.ts';
import type { EndpointDatapath, EndpointLink, EndpointProgram, LinkRequest, LinkStatus } from '../model/datapath.ts';
import { HOST_ENDPOINT_ID, type EndpointId, type IfIndex } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { MapStateChanges, MapStateView } from '../model/mapstate.ts';
import { MAPS } from '../../bpf/gen/maps.ts';
import { BpfMap } from '../kernel/bpf-map.ts';
import { Attachments } from './attachments.ts';
import type { Devices } from './devices.ts';
import type { Loader } from './loader.ts';
import { EndpointPolicy } from './maps/endpoint-policy.ts';
import type { NodeMaps } from './node-maps.ts';
import { openOrCreate } from './node-maps.ts';
import { removePin, type Pins } from './pins.ts';
import type { EndpointPrograms } from './settling.ts';
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
  /** Puts the node itself under its policy; absent: it is no endpoint. */
  readonly attachHost?: (program: EndpointProgram, policyMap: BpfMap) => Promise<void>;
  /** The addresses that the host speaks to pods with: the router's. */
  readonly routers: readonly Address[];
  /** Entries of each endpoint's policy map; that of bpf/lib/maps.h when absent. */
  readonly policyMapSize?: number;
  /** How many sets of programs to load ahead of the endpoints that will need them; none when absent. */
  readonly warmPrograms?: number;
  /** Programs cannot be loaded ahead. */
  readonly onError?: (error: unknown) => void;
}

/**
 * How long settling waits, in milliseconds: the kernel starts to send by a new link a moment after it went up, and cannot
 * while somebody has its routing lock.
 */
const SETTLE_MS = 200;

/** Endpoints on the kernel. Calls for one endpoint take turns; endpoints do not wait for each other. */
export class KernelDatapath implements EndpointDatapath, Disposable {
  readonly #options: DatapathOptions;
  readonly #policyMapSize: number;
  readonly #turns = new Turns<EndpointId>();
  readonly #policies = new Map<EndpointId, OpenPolicy>();
  readonly #byIfIndex = new Map<IfIndex, EndpointId>();
  /** Names of links that are no endpoint's yet. */
  readonly #beginnings = new Set<string>();
  readonly #pool: WarmPool<WarmPrograms>;
  readonly #attachments: Attachments;
  #settling: NodeJS.Timeout | undefined;

  constructor(options: DatapathOptions) {
    this.#options = options;
    const { loader, devices, policyMapSize = MAPS.weir_policy.maxEntries, warmPrograms = 0 } = options;
    const { onError = () => undefined } = options;
    this.#policyMapSize = policyMapSize;
    this.#pool = new WarmPool({ size: warmPrograms, make: () => loader.loadWarm(policyMapSize), onError });
    const isBusy = (): boolean => this.#beginnings.size > 0;
    this.#attachments = new Attachments({ loader, devices, turns: this.#turns, isBusy, onError });
  }

  async createLink(request: LinkRequest): Promise<EndpointLink> {
    const { hostIfName } = request;
    this.#beginnings.add(hostIfName);
    try {
      return await this.#options.devices.createLink(request);
    } catch (error) {
      this.#endBeginning(hostIfName);
      throw error;
    }
  }

  async deleteLink(hostIfName: string): Promise<void> {
    await this.#options.devices.deleteLink(hostIfName);
    this.#endBeginning(hostIfName);
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

  /** Resolves when TCX links hold the programs of all endpoints, or others are being made. */
  settle(): Promise<void> {
    return this.#attachments.settle();
  }

  async linkStatus(link: EndpointLink, netns: string): Promise<LinkStatus> {
    if (this.#byIfIndex.get(link.hostIfIndex) === HOST_ENDPOINT_ID) return { hostUp: true, attached: true };
    const id = this.#byIfIndex.get(link.hostIfIndex);
    const attached =
      id !== undefined && this.#options.maps.call.has(id) && (await this.#attachments.isAttached(id, link.hostIfIndex));
    return { ...(await this.#options.devices.status(link, netns)), attached };
  }

  /** Endpoints whose policy does not fit their map: all their traffic is dropped. */
  lockdowns(): readonly EndpointId[] {
    return [...this.#policies].filter(([, { policy }]) => policy.lockedDown).map(([id]) => id);
  }

  async install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    try {
      await this.#turns.run(program.id, () => this.#install(program, policy));
    } finally {
      this.#endBeginning(program.link.hostIfName);
    }
  }

  /** @throws WeirError ENDPOINT_NOT_FOUND, BPF_MAP_FULL (the endpoint is in lockdown until a whole policy fits) */
  updatePolicy(id: EndpointId, changes: MapStateChanges): Promise<void> {
    return this.#turns.run(id, () => this.#installed(id).policy.update(changes));
  }

  /** @throws WeirError ENDPOINT_NOT_FOUND, BPF_MAP_FULL (the endpoint is in lockdown until a whole policy fits) */
  replacePolicy(id: EndpointId, policy: MapStateView): Promise<void> {
    return this.#turns.run(id, () => this.#installed(id).policy.replace(policy));
  }

  setBandwidth(id: EndpointId, limits: BandwidthLimits): Promise<void> {
    return this.#turns.run(id, () => {
      this.#options.maps.bandwidth.set(id, limits);
      return Promise.resolve();
    });
  }

  bandwidth(id: EndpointId): BandwidthLimits {
    return this.#options.maps.bandwidth.get(id);
  }

  remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    return this.#turns.run(id, () => this.#remove(id, addresses));
  }

  /** Call it when all known endpoints are installed again, and before new ones are created. */
  async prune(endpoints: ReadonlySet<EndpointId>): Promise<void> {
    // The node goes under its policy last.
    const known = this.#options.attachHost === undefined ? endpoints : new Set([...endpoints, HOST_ENDPOINT_ID]);
    const { pins, maps, devices } = this.#options;
    const stale: Address[] = [];
    for await (const [address, { id, host }] of maps.lxc.entries()) if (!host && !known.has(id)) stale.push(address);
    for (const id of pins.endpoints()) if (!known.has(id)) await this.remove(id, stale);
    // What stands in weir_lxc without any pin.
    await maps.lxc.prune((id) => known.has(id));
    await maps.bandwidth.prune((id) => known.has(id));
    await this.#forget(stale);
    const kept = new Set(await Promise.all([...known].map((id) => this.#attachments.deviceOf(id))));
    const lost = devices.endpointLinks().filter(({ index }) => !kept.has(index));
    await Promise.all(lost.map(({ name }) => devices.deleteLink(name)));
    void this.warmUp();
  }

  /** Gives up descriptors; everything in the kernel goes on enforcing. */
  [Symbol.dispose](): void {
    for (const { map } of this.#policies.values()) map.close();
    this.#policies.clear();
    clearTimeout(this.#settling);
    this.#attachments[Symbol.dispose]();
    this.#pool[Symbol.dispose]();
  }

  /** The node itself: its policy first, then the programs of its devices that ask it. */
  async #installHost(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { map, policy: opened } = this.#open(HOST_ENDPOINT_ID);
    await opened.replace(policy);
    await this.#options.attachHost?.(program, map);
    this.#byIfIndex.set(program.link.hostIfIndex, HOST_ENDPOINT_ID);
  }

  async #install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    if (program.id === HOST_ENDPOINT_ID) {
      await this.#installHost(program, policy);
      return;
    }
    const { maps, devices, routers } = this.#options;
    const { id, link } = program;
    const addresses = addressesOf(program);
    await using undo = new AsyncDisposableStack();
    const fresh = this.#isNew(id);
    if (fresh) undo.defer(() => this.#remove(id, addresses));
    if (fresh) await this.#begin(program, policy);
    else await this.#replace(program, policy);
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
   * Gives a new endpoint its programs: some that were loaded ahead, if there are any. Nobody can deliver to it before, and
   * its link is down.
   */
  async #begin(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { maps } = this.#options;
    const { id, link } = program;
    using undo = new DisposableStack();
    const programs = undo.use(await this.#programsFor(program));
    await this.#open(id).policy.replace(policy);
    undo.move();
    await this.#attachments.begin(programs, id, link.hostIfIndex);
    maps.call.set(id, programs.program('policy_ingress').fd);
  }

  async #programsFor(program: EndpointProgram): Promise<EndpointPrograms> {
    const { loader, pins } = this.#options;
    const warm = this.#pool.take();
    if (warm === undefined) return await loader.loadEndpoint(program, this.#open(program.id).map);
    try {
      warm.embed(loader.configOf(program));
      warm.policyMap.pin(pins.policyMap(program.id));
      return warm;
    } catch (error) {
      warm[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Loads the programs of an endpoint that stands again. The verifier first: what it refuses must not have changed the
   * policy. Then policy before programs: at no time does a packet pass that nobody judges.
   */
  async #replace(program: EndpointProgram, policy: MapStateView): Promise<void> {
    const { loader, maps } = this.#options;
    const { id, link } = program;
    const opened = this.#open(id);
    if (opened.map.maxEntries !== this.#policyMapSize) {
      await this.#resize(program, policy, opened);
      return;
    }
    using object = await loader.loadEndpoint(program, opened.map);
    await opened.policy.replace(policy);
    maps.call.set(id, object.program('policy_ingress').fd);
    await this.#attachments.hold(object, id, link.hostIfIndex);
  }

  /**
   * The same with a policy map of another size. A policy that stands before the programs that ask it would end a lockdown
   * too early; there the programs come first, and drop everything like those before them.
   */
  async #resize(program: EndpointProgram, policy: MapStateView, former: OpenPolicy): Promise<void> {
    const { loader, maps, pins } = this.#options;
    const { id, link } = program;
    using undo = new DisposableStack();
    const map = undo.use(BpfMap.create({ ...MAPS.weir_policy, maxEntries: this.#policyMapSize }));
    const opened = { map, policy: new EndpointPolicy(id, map, maps.revisions) };
    using object = await loader.loadEndpoint(program, map);
    const lockedDown = former.policy.lockedDown;
    if (!lockedDown) await opened.policy.replace(policy);
    maps.call.set(id, object.program('policy_ingress').fd);
    await this.#attachments.hold(object, id, link.hostIfIndex);
    map.replacePin(pins.policyMap(id));
    undo.move();
    former.map.close();
    this.#policies.set(id, opened);
    if (lockedDown) await opened.policy.replace(policy);
  }

  /** A link is an endpoint's, or will never be one: time for what had to wait. Faults are told to onError. */
  #endBeginning(hostIfName: string): void {
    this.#beginnings.delete(hostIfName);
    void this.warmUp();
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      void this.#attachments.settle();
    }, SETTLE_MS).unref();
  }

  async #remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    const { pins, maps, devices } = this.#options;
    const own = addresses.filter((address) => maps.lxc.get(address)?.id === id);
    maps.lxc.close(own, id);
    maps.call.delete(id);
    // Its link goes before its programs, which leave with it: nothing passes that nobody judges. Taking them off one by
    // one would make the kernel wait for each. Routes go with the link, too.
    const device = await this.#attachments.deviceOf(id);
    if (device === undefined) await devices.closeRoutes(own);
    else {
      await devices.deleteLink(device);
      this.#byIfIndex.delete(device);
    }
    await this.#attachments.detach(id);
    this.#policies.get(id)?.map.close();
    this.#policies.delete(id);
    await removePin(pins.policyMap(id));
    if (maps.revisions.isLockedDown(id)) maps.revisions.setLockdown(id, false);
    maps.bandwidth.set(id, NO_LIMITS);
    await this.#forget(addresses);
  }

  /** Forgets the connections of addresses that nobody has: the next owner must inherit neither verdicts nor answers. */
  async #forget(addresses: readonly Address[]): Promise<void> {
    const { maps } = this.#options;
    const free = addresses.filter((address) => maps.lxc.get(address) === undefined);
    for (const conntrack of maps.conntrack) await conntrack.deleteLocal(free);
    await maps.nat.deleteClients(free);
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
      const { pins, maps } = this.#options;
      const map = openOrCreate('weir_policy', pins.policyMap(id), this.#policyMapSize);
      opened = { map, policy: new EndpointPolicy(id, map, maps.revisions) };
      this.#policies.set(id, opened);
    }
    return opened;
  }
}

function addressesOf({ ipv4, ipv6 }: EndpointProgram): readonly Address[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}
