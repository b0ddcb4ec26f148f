/** The whole agent on a kernel in memory, for tests. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { ApiClient } from '../api/client.ts';
import { readInvocation } from '../config/config.ts';
import { ipcacheEntryType } from '../datapath/maps/ipcache.ts';
import { FakeDatapath } from '../endpoint/testing.ts';
import type { FlowEvent } from '../flow/event.ts';
import { EventBroadcast } from '../flow/event-broadcast.ts';
import { encodeEvent } from '../flow/testing.ts';
import { Ipam } from '../ipam/ipam.ts';
import { ManifestSource } from '../k8s/manifest-source.ts';
import { formatCidr, parseAddress } from '../model/address.ts';
import { systemClock, type Clock } from '../model/clock.ts';
import type { IpcacheEntry, RemoteNode } from '../model/datapath.ts';
import { ifIndex, type EndpointId } from '../model/endpoint.ts';
import { parseMac } from '../model/mac.ts';
import type { LbChanges } from '../model/service.ts';
import { startAgent } from './agent.ts';
import type { CollectionWatcher, NodeKernel } from './node-kernel.ts';
import type { AgentParts } from './rooms.ts';

/** A kernel in memory. */
export class FakeKernel implements NodeKernel {
  readonly endpoints = new FakeDatapath();
  readonly ipcacheMap = new Map<string, IpcacheEntry>();
  readonly broadcast = new EventBroadcast(0);
  readonly ipcacheType = ipcacheEntryType;
  readonly devices = ['eth0'];
  readonly mtu = 1500;
  readonly hostLink = {
    ...{ hostIfName: 'weir_host', hostIfIndex: ifIndex(2), hostMac: parseMac('02:00:00:00:00:02') },
    ...{ containerIfName: 'weir_host', containerIfIndex: ifIndex(2), containerMac: parseMac('02:00:00:00:00:02') },
    netnsInode: 0,
  };
  readonly ipcache: NodeKernel['ipcache'] = {
    update: (entries) => {
      for (const entry of entries) this.ipcacheMap.set(formatCidr(entry.prefix), entry);
      return Promise.resolve();
    },
    delete: (prefixes) => {
      for (const prefix of prefixes) this.ipcacheMap.delete(formatCidr(prefix));
      return Promise.resolve();
    },
    prune: (desired) => {
      const kept = new Set(desired.map(({ prefix }) => formatCidr(prefix)));
      for (const text of this.ipcacheMap.keys()) if (!kept.has(text)) this.ipcacheMap.delete(text);
      return Promise.resolve();
    },
  };
  remoteNodes: readonly RemoteNode[] = [];
  readonly nodes: NodeKernel['nodes'] = {
    set: (nodes) => {
      this.remoteNodes = nodes;
      return Promise.resolve();
    },
  };
  readonly serviceChanges: LbChanges[] = [];
  readonly socketCgroup = undefined;
  readonly masquerade = { ipv4: false, ipv6: false, except: [], mapMax: 0 };
  readonly keepTranslations = () => Promise.resolve();
  readonly services: NodeKernel['services'] = {
    known: () => Promise.resolve({ frontends: [], backends: [] }),
    apply: (changes) => {
      this.serviceChanges.push(changes);
      return Promise.resolve();
    },
    prune: () => Promise.resolve(),
  };
  policyMapMax = 16384;
  locked: readonly EndpointId[] = [];
  lockdowns = () => this.locked;
  maps = () => [{ name: 'weir_metrics', path: '/x/weir_metrics', size: 1 }];
  dump = () =>
    Promise.resolve({ cache: [{ fields: { reason: 'Policy denied', direction: 'ingress', packets: 7, bytes: 700 } }] });
  flush = () => Promise.resolve();
  watcher: CollectionWatcher | undefined;
  watchCollections = (watcher: CollectionWatcher) => void (this.watcher = watcher);
  events: NodeKernel['events'] = (capacity, types) => this.broadcast.subscribe(capacity, types);
  leftOut: NodeKernel['leftOut'] = () => ({
    drop: { lost: 3, limited: 0 },
    trace: { lost: 0, limited: 12 },
    'policy-verdict': { lost: 0, limited: 0 },
  });
  [Symbol.asyncDispose] = () => Promise.resolve();

  /** A conntrack collection that begins at `at` and sees these connections, as `local>remote`. */
  collect(at: number, ...alive: readonly string[]): void {
    const seen = this.watcher?.begin(at);
    for (const text of alive) {
      const [local = '', remote = ''] = text.split('>');
      seen?.({ local: parseAddress(local), remote: parseAddress(remote) });
    }
    this.watcher?.end(at);
  }

  /** A packet's event, as programs tell it. */
  publish(event: FlowEvent): void {
    const record = encodeEvent(event);
    assert.ok(this.broadcast.publish(record, 0, record.byteLength));
  }

  identityAt(prefix: string): number | undefined {
    return this.ipcacheMap.get(prefix)?.identity;
  }
}

/** A pod of the default namespace, labelled `app: <name>`. */
export const POD = (name: string) => `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default, labels: {app: ${name}}}
spec: {containers: [{name: c, image: i}]}
`;

/** Resolves when the condition holds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  // As long as no machine needs, however busy: a wait that succeeds costs nothing.
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`waited in vain for: ${what}`);
}

/** An agent on a directory of manifests. */
export class AgentBench {
  readonly dir = mkdtempSync(join(tmpdir(), 'weir-agent-'));
  readonly api: ApiClient;
  readonly logged: string[] = [];
  kernel = new FakeKernel();
  #running: AsyncDisposable | undefined;
  #release = (): void => undefined;

  constructor() {
    mkdirSync(join(this.dir, 'manifests'));
    this.api = new ApiClient(join(this.dir, 'weir.sock'));
  }

  /** Puts a manifest in place at once. */
  manifest(file: string, text: string): void {
    writeFileSync(join(this.dir, 'draft'), text);
    renameSync(join(this.dir, 'draft'), join(this.dir, 'manifests', file));
  }

  async start(
    parts: Partial<AgentParts> & { readonly clock?: Clock } = {},
    ...flags: readonly string[]
  ): Promise<void> {
    const places = ['--socket', join(this.dir, 'weir.sock'), '--state-dir', join(this.dir, 'state')];
    const cidrs = ['--pod-cidr', '10.0.0.0/24', '--pod-cidr', 'fd00::/64'];
    const invocation = readInvocation(
      [...places, '--manifests', join(this.dir, 'manifests'), ...cidrs, '--node-name', 'n1', ...flags],
      {},
    );
    assert.ok(invocation.kind === 'run');
    const { config } = invocation;
    this.#running = await startAgent({
      ...{ config, version: '1.2.3', clock: systemClock, kernel: this.kernel },
      logger: pino({ level: 'info' }, { write: (line: string) => void this.logged.push(line) }),
      ipam: new Ipam(config.podCidrs),
      source: new ManifestSource({ directory: config.manifests!, quietMs: 5 }),
      ...parts,
    });
  }

  /** Everything stays as it is in the kernel. */
  async stop(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    this.#running = undefined;
  }

  /** Policy maps are written no more until the returned function is called. */
  holdPolicies(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const { held } = this.kernel.endpoints;
    held.set('updatePolicy', promise);
    this.#release = () => {
      held.clear();
      resolve(undefined);
    };
    return this.#release;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#release();
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Adds the pod as a runtime does. */
  async add(name: string) {
    return await this.api.putEndpoint(`cni-attachment-id:c-${name}:eth0`, {
      'container-id': `c-${name}`,
      'container-interface-name': 'eth0',
      'network-namespace-path': `/run/netns/${name}`,
      'k8s-namespace': 'default',
      'k8s-pod-name': name,
    });
  }
}
