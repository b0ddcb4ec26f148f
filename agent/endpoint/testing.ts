/** Fakes for tests of endpoints: a kernel in memory that can be told to fail, and everything real around it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LabelFilter } from '../identity/label-filter.ts';
import { RESERVED_IDENTITIES } from '../identity/reserved.ts';
import { IdentityRegistry } from '../identity/registry.ts';
import { Ipcache } from '../ipcache/ipcache.ts';
import { Ipam } from '../ipam/ipam.ts';
import { formatAddress, parseCidr, type Address } from '../model/address.ts';
import type { BandwidthLimits } from '../model/bandwidth.ts';
import type { EndpointDatapath, EndpointLink, EndpointProgram, LinkRequest, LinkStatus } from '../model/datapath.ts';
import { ifIndex, type EndpointId } from '../model/endpoint.ts';
import { localMac } from '../model/mac.ts';
import { ManualClock } from '../model/manual-clock.ts';
import {
  eachChange,
  policyKeyText,
  type MapStateChanges,
  type MapStateView,
  type PolicyEntry,
} from '../model/mapstate.ts';
import { DEFAULT_POLICY_CONFIG } from '../policy/config.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import { createPolicyEngine } from '../policy/engine.ts';
import type { EndpointEnvironment } from './environment.ts';
import { EndpointManager } from './manager.ts';
import { PodDirectory } from './pod-directory.ts';
import { EndpointStore } from './store.ts';

type Operation = keyof EndpointDatapath;

/** A kernel in memory. It outlives the agents that a test starts on it. */
export class FakeDatapath implements EndpointDatapath {
  readonly links = new Map<string, { readonly link: EndpointLink; readonly request: LinkRequest }>();
  readonly installed = new Map<EndpointId, { program: EndpointProgram; policy: Map<string, PolicyEntry> }>();
  readonly limits = new Map<EndpointId, BandwidthLimits>();
  readonly calls: string[] = [];
  /** Operations that fail, with what they throw. */
  readonly failing = new Map<Operation, Error>();
  /** Operations that wait until the test lets them go. */
  readonly held = new Map<Operation, Promise<void>>();
  #next = 10;

  async createLink(request: LinkRequest): Promise<EndpointLink> {
    await this.#enter('createLink', request.hostIfName);
    const index = ifIndex(this.#next++);
    const link: EndpointLink = {
      hostIfName: request.hostIfName,
      hostIfIndex: index,
      hostMac: localMac(Uint8Array.of(2, 0, 0, 0, 0, index)),
      containerIfName: request.containerIfName,
      containerIfIndex: ifIndex(2),
      containerMac: localMac(Uint8Array.of(2, 0, 0, 0, 1, index)),
      netnsInode: 4026531840 + index,
    };
    this.links.set(request.hostIfName, { link, request });
    return link;
  }

  async deleteLink(hostIfName: string): Promise<void> {
    await this.#enter('deleteLink', hostIfName);
    this.links.delete(hostIfName);
  }

  async linkStatus(link: EndpointLink): Promise<LinkStatus> {
    await this.#enter('linkStatus', link.hostIfName);
    const found = this.links.get(link.hostIfName);
    if (found === undefined) return { hostUp: false, attached: false };
    const container = { up: true, addresses: found.request.addresses, mac: link.containerMac };
    return { hostUp: true, container, attached: true };
  }

  async install(program: EndpointProgram, policy: MapStateView): Promise<void> {
    await this.#enter('install', program.id);
    this.installed.set(program.id, { program, policy: toMap(policy) });
  }

  async updatePolicy(id: EndpointId, changes: MapStateChanges): Promise<void> {
    await this.#enter('updatePolicy', id);
    const map = this.installed.get(id)!.policy;
    for (const [key, { before, after }] of eachChange(changes)) {
      assert.deepEqual(map.get(policyKeyText(key)), before, `what endpoint ${id} had before`);
      if (after === undefined) map.delete(policyKeyText(key));
      else map.set(policyKeyText(key), after);
    }
  }

  async replacePolicy(id: EndpointId, policy: MapStateView): Promise<void> {
    await this.#enter('replacePolicy', id);
    this.installed.get(id)!.policy = toMap(policy);
  }

  async setBandwidth(id: EndpointId, limits: BandwidthLimits): Promise<void> {
    await this.#enter('setBandwidth', id);
    this.limits.set(id, limits);
  }

  bandwidth(id: EndpointId): BandwidthLimits {
    return this.limits.get(id) ?? {};
  }

  async remove(id: EndpointId, addresses: readonly Address[]): Promise<void> {
    await this.#enter('remove', `${id} ${addresses.map(formatAddress).join(' ')}`);
    this.installed.delete(id);
    this.limits.delete(id);
  }

  async prune(known: ReadonlySet<EndpointId>): Promise<void> {
    await this.#enter('prune', [...known].join(' '));
    for (const id of this.installed.keys()) if (!known.has(id)) this.installed.delete(id);
  }

  async #enter(operation: Operation, what: string | number): Promise<void> {
    this.calls.push(`${operation} ${what}`);
    await this.held.get(operation);
    const error = this.failing.get(operation);
    if (error !== undefined) throw error;
  }
}

/** A policy map as text: comparable with another. */
export function toMap(policy: MapStateView): Map<string, PolicyEntry> {
  return new Map([...policy.entries()].map(([key, entry]) => [policyKeyText(key), entry]));
}

/** One run of an agent's endpoints, on a fake kernel and a real state directory. */
export interface Bench extends Disposable {
  readonly manager: EndpointManager;
  readonly environment: EndpointEnvironment;
  readonly datapath: FakeDatapath;
  readonly engine: PolicyEngine;
  readonly pods: PodDirectory;
  readonly ipam: Ipam;
  readonly ipcache: Ipcache;
  readonly clock: ManualClock;
  readonly stateDir: string;
  readonly reports: string[];
  /** Another agent on the same kernel and state, as after a crash of this one. */
  restart(settings?: BenchSettings): Promise<Bench>;
}

export interface BenchSettings {
  readonly bandwidthManager?: boolean;
}

/** As with an API server: objects may come after the runtime's call. */
export interface Lateness {
  readonly podWaitMs: number;
  readonly identityGraceMs: number;
}

export async function openBench(
  stateDir?: string,
  datapath = new FakeDatapath(),
  late?: Lateness,
  { bandwidthManager = true }: BenchSettings = {},
): Promise<Bench> {
  const dir = stateDir ?? mkdtempSync(join(tmpdir(), 'weir-endpoint-'));
  const clock = new ManualClock(1_000_000);
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG);
  engine.apply({ identities: RESERVED_IDENTITIES });
  const { registry: identities } = await IdentityRegistry.open({
    stateDir: dir,
    clock,
    onChange: ({ added, removed }) => {
      engine.apply({ identities: added, removedIdentities: removed.map(({ id }) => id) });
    },
  });
  const ipam = new Ipam({ ipv4: parseCidr('10.0.0.0/29'), ipv6: parseCidr('fd00::/64') });
  const ipcache = new Ipcache();
  const reports: string[] = [];
  const pods = new PodDirectory((change) => manager.podChanged(change));
  const environment: EndpointEnvironment = {
    datapath,
    identities,
    ipam,
    ipcache,
    flushIpcache: () => Promise.resolve(),
    policies: engine,
    proxies: { port: () => 0, follow: () => undefined, forget: () => undefined },
    store: new EndpointStore(join(dir, 'endpoints')),
    labels: { pods, filter: new LabelFilter(), clusterName: 'default', podsMayBeLate: late !== undefined },
    clock,
    identityGraceMs: late?.identityGraceMs ?? 0,
    podWaitMs: late?.podWaitMs ?? 0,
    mtu: 1500,
    auditMode: false,
    bandwidthManager,
    report: (endpoint, message) => void reports.push(`${endpoint.title}: ${message}`),
  };
  const manager = new EndpointManager(environment);
  return {
    manager,
    environment,
    datapath,
    engine,
    pods,
    ipam,
    ipcache,
    clock,
    stateDir: dir,
    reports,
    restart: (settings) => openBench(dir, datapath, late, settings),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}
