/** A node that exists only as programs and maps: endpoints, policies and addresses go in, packets are run, maps are read. */
import path from 'node:path';
import { BpfMap } from '../../agent/kernel/bpf-map.ts';
import { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { RingBuffer } from '../../agent/kernel/ring-buffer.ts';
import { programTestRun } from '../../agent/kernel/test-run.ts';
import { pinFolder } from '../../agent/kernel/testbed.ts';
import { parseAddress, parseCidr } from '../../agent/model/address.ts';
import { identityId } from '../../agent/model/identity.ts';
import { parseMac } from '../../agent/model/mac.ts';
import type { PolicyEntry, PolicyKey } from '../../agent/model/mapstate.ts';
import { decodeConnection, type Connection } from '../../agent/datapath/maps/conntrack.ts';
import { encodePolicyEntry, encodePolicyKey } from '../../agent/datapath/maps/policymap.ts';
import { buildBpf } from '../../hack/build-bpf.ts';
import { writeBpfHostConfig, writeBpfLxcConfig, type BpfHostConfig, type BpfLxcConfig } from '../../bpf/gen/config.ts';
import {
  ENDPOINT_HOST,
  IPCACHE_STATIC_BITS,
  METRICS_DIRECTION_SHIFT,
  STATE_LOCKDOWN,
  STATE_TRACED,
} from '../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import { MAPS, type MapName } from '../../bpf/gen/maps.ts';
import { OBJECTS, type ObjectName } from '../../bpf/gen/objects.ts';
import {
  decode,
  encode,
  endpointInfo,
  endpointKey,
  endpointState,
  event,
  ipcacheInfo,
  ipcacheKey,
  traffic,
  u32,
  type Event,
} from '../../bpf/gen/structs.ts';
import { testObject } from './objects.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** What a program said about a packet. */
export const VERDICT: ReadonlyMap<number, string> = new Map([
  [0, 'ok'],
  [2, 'drop'],
  [7, 'redirect'],
  [0xffffffff, 'next'],
]);

/** Smaller than real: tests make many nodes. */
export const MAX_ENTRIES: Partial<Record<MapName, number>> = {
  weir_ipcache: 1024,
  weir_ct4: 4096,
  weir_ct6: 4096,
  weir_events: 65536,
  weir_lb_services: 1024,
  weir_lb_backends: 1024,
  weir_lb_flows: 1024,
  weir_lb_asked: 1024,
  weir_nat: 32_768,
};

/** An endpoint of the test node. */
export interface TestEndpoint {
  readonly id: number;
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly config?: Partial<BpfLxcConfig>;
}

/** Whose an address of the test node is. */
export interface LocalEndpoint {
  readonly id: number;
  readonly identity: number;
  /** Of the host's end of its link; one that nothing has when absent. */
  readonly ifindex?: number;
}

/** A policy entry in a few words; what is absent is 0 or false. */
export interface TestRule {
  readonly direction: 'ingress' | 'egress';
  readonly identity?: number;
  readonly protocol?: number;
  readonly port?: number;
  /** Bits of the port that count; 16 when there is a port. */
  readonly portPrefix?: number;
  readonly deny?: boolean;
  readonly precedence?: number;
  readonly cookie?: number;
  readonly proxyPort?: number;
  readonly authType?: number;
  readonly authExplicit?: boolean;
  readonly audited?: boolean;
}

export interface Ran {
  readonly verdict: string;
  readonly frame: Buffer;
  /** skb->mark afterwards. */
  readonly mark: number;
  /** What the program told the next one, by tail call, about who sent the packet. */
  readonly sourceIdentity: number;
  /** Mean nanoseconds of one run. */
  readonly nanoseconds: number;
}

/** One endpoint's loaded programs. */
export class EndpointPrograms implements Disposable {
  readonly object: BpfObject;
  readonly policy: BpfMap;

  constructor(object: BpfObject) {
    this.object = object;
    this.policy = new BpfMap(object.mapFd('weir_policy'), 'weir_policy');
  }

  run(program: 'from_container' | 'to_container' | 'policy_ingress', frame: Uint8Array, run: RunContext = {}): Ran {
    return runProgram(this.object.program(program).fd, frame, run);
  }

  allow(...rules: readonly TestRule[]): void {
    for (const rule of rules) this.policy.update(...ruleBytes(rule));
  }

  revoke(...rules: readonly TestRule[]): void {
    for (const rule of rules) this.policy.delete(ruleBytes(rule)[0]);
  }

  [Symbol.dispose](): void {
    this.object.close();
  }
}

export interface RunContext {
  /** What the program before a tail call found out. */
  readonly sourceIdentity?: number;
  /** All of skb->cb instead, 20 bytes. */
  readonly control?: Uint8Array;
  /** The device that brought the packet to this node; 0, as for what the node itself sends, when absent. */
  readonly ingressIfindex?: number;
  /** The device that the program runs on; loopback when absent. */
  readonly ifindex?: number;
  readonly mark?: number;
  /** Payload of each packet into which the kernel will cut this one. */
  readonly gsoSize?: number;
  readonly repeat?: number;
}

export class TestNode implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #pins = this.#stack.use(pinFolder());
  readonly #reported: Event[] = [];
  #events: RingBuffer | undefined;
  /** Where the maps are pinned. */
  readonly bpfRoot = this.#pins.at('.');
  readonly host: BpfObject;
  readonly maps: Readonly<Record<MapName, BpfMap>>;

  private constructor(config: Partial<BpfHostConfig>) {
    this.host = this.#stack.use(this.load('bpf_host', (view) => writeBpfHostConfig(view, config)));
    const names = Object.keys(MAPS) as MapName[];
    this.maps = Object.fromEntries(names.map((name) => [name, new BpfMap(this.host.mapFd(name), name)])) as Record<
      MapName,
      BpfMap
    >;
  }

  /** Builds the objects when they are older than their sources, and loads those of the host. */
  static async start(config: Partial<BpfHostConfig> = {}): Promise<TestNode> {
    await buildBpf(root);
    return new TestNode(config);
  }

  /** Loads an object with `write` applied to its config section; the maps are the node's. */
  load(name: ObjectName, write: (config: DataView) => void): BpfObject {
    const { elf, pins } = testObject(name);
    const shared = OBJECTS[name].maps.filter((map) => MAPS[map].pinned);
    return BpfObject.load({
      name,
      elf,
      data: { '.rodata.config': (bytes) => write(viewOf(bytes)) },
      pins: { ...pins, ...Object.fromEntries(shared.map((map) => [map, this.#pins.at(map)])) },
      maxEntries: MAX_ENTRIES,
    });
  }

  /** Loads an endpoint's programs, opens delivery to it, and tells the ipcache about it. */
  endpoint(endpoint: TestEndpoint): EndpointPrograms {
    const macs = endpointMacs(endpoint.id);
    const object = this.load('bpf_lxc', (view) =>
      writeBpfLxcConfig(view, {
        endpointId: endpoint.id,
        endpointIdentity: endpoint.identity,
        endpointIpv4: parseAddress(endpoint.ipv4).bytes,
        endpointIpv6: parseAddress(endpoint.ipv6).bytes,
        endpointMac: parseMac(macs.pod),
        hostMac: parseMac(macs.host),
        endpointIfindex: 1000 + endpoint.id,
        ...endpoint.config,
      }),
    );
    const programs = this.#stack.use(new EndpointPrograms(object));
    this.maps.weir_call_policy.update(encode(u32, endpoint.id), encode(u32, object.program('policy_ingress').fd));
    for (const text of [endpoint.ipv4, endpoint.ipv6]) {
      const ifindex = endpoint.config?.endpointIfindex;
      this.local(text, { id: endpoint.id, identity: endpoint.identity, ...(ifindex && { ifindex }) });
      this.ipcache(text, endpoint.identity);
    }
    return programs;
  }

  /** An address in weir_lxc: an endpoint's, or with id 0 the host's. */
  local(address: string, { id, identity, ifindex = 1000 + id }: LocalEndpoint): void {
    const { family, bytes } = parseAddress(address);
    const macs = endpointMacs(id);
    this.maps.weir_lxc.update(
      encode(endpointKey, { addr: bytes, family }),
      encode(endpointInfo, {
        ifindex,
        id,
        flags: id === 0 ? ENDPOINT_HOST : 0,
        mac: parseMac(macs.pod),
        hostMac: parseMac(macs.host),
        identity,
      }),
    );
  }

  ipcache(prefix: string, identity: number): void {
    const { address, length } = parseCidr(prefix);
    this.maps.weir_ipcache.update(
      encode(ipcacheKey, { prefixlen: IPCACHE_STATIC_BITS + length, family: address.family, addr: address.bytes }),
      encode(ipcacheInfo, { identity, flags: 0, tunnelFamily: 0, tunnel: new Uint8Array(16) }),
    );
  }

  /** What a writer does after it has changed a policy (an endpoint's id) or the ipcache (0). */
  raiseRevision(id: number): void {
    const key = encode(u32, id);
    const state = decode(endpointState, this.maps.weir_revision.lookup(key)!);
    this.maps.weir_revision.update(key, encode(endpointState, { ...state, revision: state.revision + 1n }));
  }

  lockdown(id: number, on: boolean): void {
    const key = encode(u32, id);
    const state = decode(endpointState, this.maps.weir_revision.lookup(key)!);
    this.maps.weir_revision.update(key, encode(endpointState, { ...state, flags: on ? STATE_LOCKDOWN : 0 }));
  }

  /** Whether somebody listens to traces. */
  traced(on: boolean): void {
    const key = encode(u32, 0);
    const state = decode(endpointState, this.maps.weir_revision.lookup(key)!);
    this.maps.weir_revision.update(key, encode(endpointState, { ...state, flags: on ? STATE_TRACED : 0 }));
  }

  runHost(
    program: 'from_netdev' | 'to_netdev' | 'from_host' | 'host_policy',
    frame: Uint8Array,
    run: RunContext = {},
  ): Ran {
    return runProgram(this.host.program(program).fd, frame, run);
  }

  /** Packets counted so far by `direction reason`, such as `egress DROP_POLICY_DENIED`; forwarded is DROP_NONE. */
  async counters(): Promise<Record<string, number>> {
    const counted: Record<string, number> = {};
    for await (const { key, value } of this.maps.weir_metrics.entries()) {
      const index = decode(u32, key);
      let packets = 0n;
      for (let at = 0; at < value.length; at += traffic.size) packets += decode(traffic, value.subarray(at)).packets;
      if (packets === 0n) continue;
      const direction = ['unknown', 'ingress', 'egress'][index >> METRICS_DIRECTION_SHIFT]!;
      counted[`${direction} ${DROP_REASONS.get(index & 0xff)?.name ?? index}`] = Number(packets);
    }
    return counted;
  }

  /** Every tracked connection of both families. */
  async connections(): Promise<Connection[]> {
    const found: Connection[] = [];
    for await (const { key, value } of this.maps.weir_ct4.entries()) found.push(decodeConnection(4, key, value));
    for await (const { key, value } of this.maps.weir_ct6.entries()) found.push(decodeConnection(6, key, value));
    return found;
  }

  /** Takes what the programs reported since the last time; opened at the first call, so that one sees nothing. */
  events(): Event[] {
    this.#events ??= this.#stack.use(
      RingBuffer.open(this.maps.weir_events.fd, (data, offset) => this.#reported.push(event.read(data, offset))),
    );
    this.#events.drain();
    return this.#reported.splice(0);
  }

  async forgetConnections(): Promise<void> {
    for (const map of [this.maps.weir_ct4, this.maps.weir_ct6]) {
      for await (const { key } of map.entries()) map.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

export function endpointMacs(id: number): { pod: string; host: string } {
  const tail = id.toString(16).padStart(2, '0');
  return { pod: `02:00:00:00:00:${tail}`, host: `02:00:00:00:ff:${tail}` };
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function ruleBytes(rule: TestRule): [Uint8Array, Uint8Array] {
  const port = rule.port ?? 0;
  const key: PolicyKey = {
    direction: rule.direction,
    identity: identityId(rule.identity ?? 0),
    protocol: rule.protocol ?? 0,
    port,
    portPrefix: rule.portPrefix ?? (rule.port === undefined ? 0 : 16),
  };
  const entry: PolicyEntry = {
    deny: rule.deny ?? false,
    proxyPort: rule.proxyPort ?? 0,
    authType: rule.authType ?? 0,
    authExplicit: rule.authExplicit ?? false,
    precedence: rule.precedence ?? 0,
    cookie: rule.cookie ?? 0,
    audited: rule.audited ?? false,
  };
  return [encodePolicyKey(key), encodePolicyEntry(key, entry)];
}

/** Offset of `cb` in struct __sk_buff, which lies behind its twelve leading words. */
const SKB_CB_OFFSET = 48;
const SKB_MARK_OFFSET = 8;
const SKB_INGRESS_IFINDEX_OFFSET = 36;
const SKB_IFINDEX_OFFSET = 40;
const SKB_GSO_SIZE_OFFSET = 176;
const SKB_BYTES = 192;

/** Runs a frame through a program. */
export function runProgram(fd: number, frame: Uint8Array, run: RunContext): Ran {
  const { sourceIdentity, control, ingressIfindex = 0, ifindex = 0, mark = 0, gsoSize = 0, repeat } = run;
  const context = Buffer.alloc(SKB_BYTES);
  if (sourceIdentity !== undefined) context.writeUInt32LE(sourceIdentity, SKB_CB_OFFSET);
  if (control !== undefined) context.set(control, SKB_CB_OFFSET);
  context.writeUInt32LE(mark, SKB_MARK_OFFSET);
  context.writeUInt32LE(gsoSize, SKB_GSO_SIZE_OFFSET);
  context.writeUInt32LE(ingressIfindex, SKB_INGRESS_IFINDEX_OFFSET);
  context.writeUInt32LE(ifindex, SKB_IFINDEX_OFFSET);
  const result = programTestRun(fd, {
    data: frame,
    context,
    ...(repeat === undefined ? {} : { repeat }),
  });
  return {
    verdict: VERDICT.get(result.returnValue) ?? String(result.returnValue),
    frame: result.data,
    mark: result.context.readUInt32LE(SKB_MARK_OFFSET),
    sourceIdentity: result.context.readUInt32LE(SKB_CB_OFFSET),
    nanoseconds: result.durationNs,
  };
}
