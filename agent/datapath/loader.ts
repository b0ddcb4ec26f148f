import { readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  bpfLxcConfigSize,
  CONFIG_SECTION,
  writeBpfHostConfig,
  writeBpfLxcConfig,
  writeBpfOverlayConfig,
  writeBpfSockConfig,
  type BpfHostConfig,
  type BpfLxcConfig,
} from '../../bpf/gen/config.ts';
import { MAPS } from '../../bpf/gen/maps.ts';
import { OBJECTS, type ObjectName } from '../../bpf/gen/objects.ts';
import type { EndpointProgram } from '../model/datapath.ts';
import type { EndpointId, IfIndex } from '../model/endpoint.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { BpfMap } from '../kernel/bpf-map.ts';
import { BpfObject, type LoadSpec } from '../kernel/bpf-object.ts';
import { attachCgroup, detachCgroup, SOCKET_HOOKS, type SocketHook } from '../kernel/cgroup.ts';
import { netnsCookie } from '../kernel/socket.ts';
import { attachTcx, detachTcx, TcxLink, tcxProgram, type TcxHook } from '../kernel/tcx.ts';
import type { NodeMaps } from './node-maps.ts';
import { type EndpointHook, type NodeHook, type Pins } from './pins.ts';
import type { EndpointPrograms } from './settling.ts';
import { WarmPrograms, type WriteConfig } from './warm-programs.ts';

/** Config variables that are the same for every program of the node. */
export type ProgramSettings = Partial<
  Pick<
    BpfLxcConfig,
    | 'dropEvents'
    | 'verdictEvents'
    | 'traceEvents'
    | 'traceAggregation'
    | 'traceFlags'
    | 'traceInterval'
    | 'eventCost'
    | 'eventBurst'
    | 'policyAccounting'
    | 'denyResponse'
    | 'directToNodes'
    | 'tcpEstablishedSeconds'
    | 'tcpSynSeconds'
    | 'tcpClosingSeconds'
    | 'otherSeconds'
    | 'tunnel'
    | 'tunnelIpv6'
    | 'tunnelIfindex'
    | 'tunnelMtu'
    | 'tunnelPort'
    | 'maglevTableSize'
    | 'externalClusterIp'
    | 'rejectWithoutBackend'
    | 'masqueradeIpv4'
    | 'masqueradeIpv6'
  >
>;

/** What programs of the node's devices need to judge the node's own traffic. */
export interface HostFirewall {
  readonly program: Pick<EndpointProgram, 'id' | 'identity' | 'auditMode'>;
  readonly policyMap: BpfMap;
}

/** Where an endpoint's programs go, as its link's host end sees it. */
export const ENDPOINT_HOOKS: Readonly<Record<EndpointHook, TcxHook>> = {
  from_container: 'ingress',
  to_container: 'egress',
};
const NODE_HOOKS: Readonly<Record<NodeHook, TcxHook>> = {
  from_netdev: 'ingress',
  to_netdev: 'egress',
  from_host: 'egress',
  from_overlay: 'ingress',
  to_overlay: 'egress',
};

const SOCKET_HOOK_NAMES = Object.keys(SOCKET_HOOKS) as SocketHook[];

const hooksOf = Object.entries as <K extends string>(hooks: Readonly<Record<K, TcxHook>>) => [K, TcxHook][];

/** Loads programs with what they must know embedded, and attaches them by pinned links. */
export class Loader {
  readonly #objects: Readonly<Record<ObjectName, Buffer>>;
  readonly #pins: Pins;
  readonly #maps: NodeMaps;
  /** What later loads embed; what is loaded keeps its own. */
  settings: ProgramSettings;

  private constructor(objects: Record<ObjectName, Buffer>, pins: Pins, maps: NodeMaps, settings: ProgramSettings) {
    this.#objects = objects;
    this.#pins = pins;
    this.#maps = maps;
    this.settings = settings;
  }

  /**
   * @param folder holds the objects of bpf/; they are read once
   * @throws WeirError CONFIG_INVALID when one cannot be read
   */
  static async create(folder: string, pins: Pins, maps: NodeMaps, settings: ProgramSettings = {}): Promise<Loader> {
    const names = Object.keys(OBJECTS) as ObjectName[];
    const objects = await Promise.all(names.map(async (name) => [name, await readObject(folder, name)] as const));
    return new Loader(Object.fromEntries(objects) as Record<ObjectName, Buffer>, pins, maps, settings);
  }

  /**
   * Has the verifier judge an endpoint's programs; nothing is attached yet. The caller closes the object.
   *
   * @throws LoadError BPF_LOAD_FAILED
   */
  loadEndpoint(program: EndpointProgram, policyMap: BpfMap): Promise<BpfObject> {
    return this.#load('bpf_lxc', `bpf_lxc of endpoint ${program.id}`, {
      data: { [CONFIG_SECTION]: (bytes) => this.configOf(program)(viewOf(bytes)) },
      reuse: { weir_policy: policyMap },
    });
  }

  /**
   * Has the verifier judge programs for whichever endpoint will need them.
   *
   * @param policyMapSize entries of its policy map
   * @throws LoadError BPF_LOAD_FAILED
   */
  async loadWarm(policyMapSize: number = MAPS.weir_policy.maxEntries): Promise<WarmPrograms> {
    using undo = new DisposableStack();
    const policyMap = undo.use(BpfMap.create({ ...MAPS.weir_policy, maxEntries: policyMapSize }));
    const config = undo.use(WarmPrograms.configMap(bpfLxcConfigSize));
    const defaults = Buffer.alloc(bpfLxcConfigSize);
    const object = await this.#load('bpf_lxc', 'bpf_lxc of an endpoint to come', {
      data: { [CONFIG_SECTION]: (bytes) => defaults.set(bytes) },
      reuse: { weir_policy: policyMap, [CONFIG_SECTION]: config },
    });
    undo.move();
    return new WarmPrograms(object, config, defaults, policyMap);
  }

  /** Writes all that the programs of an endpoint must know. */
  configOf({ id, identity, link, ipv4, ipv6, auditMode }: EndpointProgram): WriteConfig {
    const config: Partial<BpfLxcConfig> = {
      ...this.settings,
      endpointId: id,
      endpointIdentity: identity,
      ...(ipv4 && { endpointIpv4: ipv4.bytes }),
      ...(ipv6 && { endpointIpv6: ipv6.bytes }),
      endpointMac: link.containerMac,
      hostMac: link.hostMac,
      endpointIfindex: link.hostIfIndex,
      auditMode,
    };
    return (view) => writeBpfLxcConfig(view, config);
  }

  /**
   * Attaches an endpoint's programs to its link, or replaces those that are there without losing a packet.
   *
   * @throws KernelError SYSCALL_FAILED; whichever program was attached newly stays so, for the caller to undo
   */
  async attachEndpoint(programs: EndpointPrograms, id: EndpointId, ifindex: IfIndex): Promise<void> {
    await allDone(
      hooksOf(ENDPOINT_HOOKS).map(async ([name, hook]) => {
        const pin = this.#pins.endpointLink(id, name);
        this.#pins.makeFolder(pin);
        await attachTcx(programs.program(name).fd, { ifindex, hook, pin });
      }),
    );
  }

  /** Takes an endpoint's programs off its link and removes their pins. */
  async detachEndpoint(id: EndpointId): Promise<void> {
    await allDone(hooksOf(ENDPOINT_HOOKS).map(([name]) => detach(this.#pins.endpointLink(id, name))));
    this.#pins.removeEndpointFolder(id);
  }

  /** Whether TCX links hold all programs of an endpoint on that link. */
  async isAttached(id: EndpointId, ifindex: IfIndex): Promise<boolean> {
    const pins = hooksOf(ENDPOINT_HOOKS).map(([name]) => this.#pins.endpointLink(id, name));
    const programs = await Promise.all(pins.map((pin) => tcxProgram(pin, ifindex)));
    return programs.every((program) => program !== undefined);
  }

  /** The device on which TCX links hold an endpoint's programs; undefined when there is none any more. */
  async deviceOf(id: EndpointId): Promise<IfIndex | undefined> {
    for (const [name] of hooksOf(ENDPOINT_HOOKS)) {
      using link = TcxLink.openPinned(this.#pins.endpointLink(id, name));
      const ifindex = (await link?.info())?.ifindex ?? 0;
      if (ifindex !== 0) return ifindex as IfIndex;
    }
    return undefined;
  }

  /**
   * Attaches the node's programs to one of its devices.
   *
   * @throws LoadError BPF_LOAD_FAILED; KernelError SYSCALL_FAILED
   */
  async attachDevice(
    device: string,
    ifindex: IfIndex,
    programs: readonly NodeHook[],
    firewall?: HostFirewall,
  ): Promise<void> {
    const config: Partial<BpfHostConfig> = { ...this.settings, deviceIfindex: ifindex, ...hostConfig(firewall) };
    // Without a firewall its policy map is never asked: libbpf gives it an empty one.
    using object = await this.#load('bpf_host', `bpf_host of ${device}`, {
      data: { [CONFIG_SECTION]: (bytes) => writeBpfHostConfig(viewOf(bytes), config) },
      ...(firewall && { reuse: { weir_policy: firewall.policyMap } }),
    });
    await this.#attachNode(object, device, ifindex, programs);
  }

  /**
   * Loads what judges what the node's own pods send to it. The caller closes the object.
   *
   * @throws LoadError BPF_LOAD_FAILED
   */
  loadHostPolicy(firewall: HostFirewall): Promise<BpfObject> {
    const config: Partial<BpfHostConfig> = { ...this.settings, ...hostConfig(firewall) };
    return this.#load('bpf_host', 'bpf_host of the node', {
      data: { [CONFIG_SECTION]: (bytes) => writeBpfHostConfig(viewOf(bytes), config) },
      reuse: { weir_policy: firewall.policyMap },
    });
  }

  /**
   * Attaches the tunnel's programs to its device.
   *
   * @throws LoadError BPF_LOAD_FAILED; KernelError SYSCALL_FAILED
   */
  async attachTunnel(device: string, ifindex: IfIndex): Promise<void> {
    using object = await this.#load('bpf_overlay', `bpf_overlay of ${device}`, {
      data: { [CONFIG_SECTION]: (bytes) => writeBpfOverlayConfig(viewOf(bytes), this.settings) },
    });
    await this.#attachNode(object, device, ifindex, ['from_overlay', 'to_overlay']);
  }

  async #attachNode(object: BpfObject, device: string, ifindex: IfIndex, programs: readonly NodeHook[]): Promise<void> {
    await allDone(
      programs.map(async (name) => {
        const pin = this.#pins.nodeLink(device, name);
        this.#pins.makeFolder(pin);
        await attachTcx(object.program(name).fd, { ifindex, hook: NODE_HOOKS[name], pin });
      }),
    );
  }

  /** Whether TCX links hold programs of the node on one of its devices. */
  async holdsDevice(device: string, ifindex: IfIndex, programs: readonly NodeHook[]): Promise<boolean> {
    const held = await Promise.all(programs.map((name) => tcxProgram(this.#pins.nodeLink(device, name), ifindex)));
    return held.every((program) => program !== undefined);
  }

  /** Takes the node's programs off those of its devices for which `leaves` says so. */
  async detachDevices(leaves: (device: string) => boolean): Promise<void> {
    await allDone(
      this.#pins
        .nodeDevices()
        .filter(leaves)
        .map(async (device) => {
          await allDone(hooksOf(NODE_HOOKS).map(([hook]) => detach(this.#pins.nodeLink(device, hook))));
          this.#pins.removeNodeFolder(device);
        }),
    );
  }

  /**
   * Attaches the programs that translate services to all sockets below a cgroup, or replaces those that are there without
   * missing a call. The node's own namespace is the one this process is in.
   *
   * @throws LoadError BPF_LOAD_FAILED; KernelError SYSCALL_FAILED
   */
  async attachSockets(cgroup: string): Promise<void> {
    using object = await this.#load('bpf_sock', `bpf_sock of ${cgroup}`, {
      data: {
        [CONFIG_SECTION]: (bytes) =>
          writeBpfSockConfig(viewOf(bytes), { ...this.settings, hostNetnsCookie: netnsCookie() }),
      },
    });
    await allDone(
      SOCKET_HOOK_NAMES.map(async (hook) => {
        await attachCgroup(object.program(hook).fd, { cgroup, hook, pin: this.#pins.socketLink(hook) });
      }),
    );
  }

  /** Takes them off again; what is not there is fine. */
  async detachSockets(): Promise<void> {
    await allDone(SOCKET_HOOK_NAMES.map((hook) => detachCgroup(this.#pins.socketLink(hook))));
  }

  /** Loads an object on the node's maps. */
  #load(name: ObjectName, title: string, { data, reuse }: Pick<LoadSpec, 'data' | 'reuse'>): Promise<BpfObject> {
    const shared = OBJECTS[name].maps.filter((map) => MAPS[map].pinned);
    return BpfObject.loadAsync({
      name: title,
      elf: this.#objects[name],
      ...(data && { data }),
      reuse: { ...Object.fromEntries(shared.map((map) => [map, this.#maps.get(map)])), ...reuse },
    });
  }
}

function hostConfig(firewall: HostFirewall | undefined): Partial<BpfHostConfig> {
  if (firewall === undefined) return {};
  const { id, identity, auditMode } = firewall.program;
  return { hostFirewall: true, endpointId: id, endpointIdentity: identity, auditMode };
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

async function readObject(folder: string, name: ObjectName): Promise<Buffer> {
  const file = path.join(folder, OBJECTS[name].file);
  try {
    return await readFile(file);
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', `cannot read the kernel programs: ${errorText(cause)}`, {
      field: '--bpf-objects',
      remedy: `name the folder that holds ${OBJECTS[name].file}, as \`npm run build\` makes it`,
      cause,
    });
  }
}

async function detach(pin: string): Promise<void> {
  await detachTcx(pin);
}

/** Waits for all, also when one fails, and then throws the first failure. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
