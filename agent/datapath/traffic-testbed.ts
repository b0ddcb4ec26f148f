/** What tests of real traffic stand on: pods without a runtime, and processes that talk inside them. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { parseAddress, parseCidr, type Address } from '../model/address.ts';
import type { EndpointLink } from '../model/datapath.ts';
import { endpointId, type EndpointId } from '../model/endpoint.ts';
import { identityId } from '../model/identity.ts';
import type { Direction, MapStateView, PolicyEntry, PolicyKey } from '../model/mapstate.ts';
import type { Netns } from '../kernel/netns.ts';
import { testNetns, uniqueName } from '../kernel/testbed.ts';
import { KernelNode, uninstall, type KernelNodeOptions } from './kernel-node.ts';

export const OBJECTS_FOLDER = path.resolve(import.meta.dirname, '../../dist/bpf');

export const ROUTERS = [parseAddress('10.1.0.1'), parseAddress('fd00:1::1')] as const;
const POD_CIDRS = [parseCidr('10.1.0.0/24'), parseCidr('fd00:1::/64')];

/** Small maps: the kernel takes its time to make large ones. */
export const SIZES = {
  weir_ipcache: 1024,
  weir_ct4: 4096,
  weir_ct6: 4096,
  weir_policystats: 1024,
  weir_events: 1 << 16,
};

export type TestNode = KernelNode & AsyncDisposable & { readonly bpfRoot: string };

/** A node in the namespace that the test runs in, gone with all it made when disposed. */
export async function testNode(extra: Partial<KernelNodeOptions> = {}): Promise<TestNode> {
  if (!existsSync(OBJECTS_FOLDER)) throw new Error(`no programs in ${OBJECTS_FOLDER}: run \`npm run build\` first`);
  const bpfRoot = extra.bpfRoot ?? path.join('/sys/fs/bpf', uniqueName('weir-test'));
  try {
    const node = await KernelNode.open({
      routing: { mode: 'native', tunnelPort: 8472, underlay: 4, autoDirectNodeRoutes: false, throughHost: true },
      bpfRoot,
      objects: OBJECTS_FOLDER,
      routers: ROUTERS,
      podCidrs: POD_CIDRS,
      devices: [],
      sizes: SIZES,
      monotonic: process.hrtime.bigint.bind(process.hrtime),
      ...extra,
    });
    return Object.assign(node, {
      bpfRoot,
      [Symbol.asyncDispose]: async () => {
        node[Symbol.dispose]();
        // What is being settled right now pins its links before it ends.
        await node.endpoints.settle();
        await uninstall(bpfRoot);
      },
    });
  } catch (error) {
    await uninstall(bpfRoot);
    throw error;
  }
}

/** A pod with its link, not yet an endpoint. */
export class TestPod implements AsyncDisposable {
  readonly id: EndpointId;
  readonly identity;
  readonly netns: Netns;
  readonly ipv4: Address;
  readonly ipv6: Address;
  readonly link: EndpointLink;
  #node: KernelNode;
  readonly #children = new Set<ChildProcess>();

  private constructor(node: KernelNode, number: number, netns: Netns, link: EndpointLink) {
    this.#node = node;
    this.id = endpointId(number);
    this.identity = identityId(1000 + number);
    this.netns = netns;
    this.link = link;
    [this.ipv4, this.ipv6] = addressesOf(number);
  }

  /** Pod number n is 10.1.0.n and fd00:1::n, endpoint n, identity 1000 + n. */
  static async create(node: KernelNode, number: number): Promise<TestPod> {
    const netns = testNetns();
    try {
      const link = await node.endpoints.createLink({
        netns: `/proc/self/fd/${netns.fd}`,
        containerIfName: 'eth0',
        hostIfName: `wr${number.toString(16).padStart(10, '0')}`,
        addresses: addressesOf(number),
        gateways: ROUTERS,
        mtu: 1500,
      });
      const pod = new TestPod(node, number, netns, link);
      const entries = pod.addresses.map((address) => ({ address, length: address.bytes.length * 8 }));
      await node.maps.ipcache.update(entries.map((prefix) => ({ prefix, identity: pod.identity })));
      return pod;
    } catch (error) {
      netns.close();
      throw error;
    }
  }

  get addresses(): readonly [Address, Address] {
    return [this.ipv4, this.ipv6];
  }

  /** Makes it an endpoint. */
  async install(policy: MapStateView): Promise<void> {
    const { id, identity, link, ipv4, ipv6 } = this;
    await this.#node.endpoints.install({ id, identity, link, ipv4, ipv6, auditMode: false }, policy);
  }

  /** From now on another agent has the node. */
  async moveTo(successor: KernelNode, policy: MapStateView): Promise<void> {
    this.#node = successor;
    await this.install(policy);
  }

  /** Exit status of a command run inside. */
  run(...argv: readonly string[]): Promise<number> {
    return new Promise((resolve) => {
      execFile('nsenter', [...this.#enter, ...argv], (error) => resolve(error === null ? 0 : Number(error.code ?? -1)));
    });
  }

  /** Whether `address` answers a ping within so many seconds. */
  async pings(address: string, seconds = 30): Promise<boolean> {
    return (await this.run('ping', '-n', '-c', '1', '-W', String(seconds), address)) === 0;
  }

  /** Runs a Node script inside, its output piped. */
  script(code: string): ChildProcess {
    const child = spawn('nsenter', [...this.#enter, process.execPath, '-e', code], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await this.#node.endpoints.remove(this.id, this.addresses);
    await this.#node.endpoints.deleteLink(this.link.hostIfName);
    this.netns.close();
  }

  get #enter(): readonly string[] {
    return [`--net=/proc/${process.pid}/fd/${this.netns.fd}`, '--'];
  }
}

function addressesOf(number: number): [Address, Address] {
  return [parseAddress(`10.1.0.${number}`), parseAddress(`fd00:1::${number.toString(16)}`)];
}

/** A conversation over one TCP connection. */
export class Conversation {
  readonly #client: ChildProcess;
  #heard = '';
  #wake: (() => void) | undefined;

  private constructor(client: ChildProcess) {
    this.#client = client;
    client.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#heard += text;
      this.#wake?.();
    });
  }

  /** Starts an echo server in one pod and connects to it from the other; resolves when the first line came back. */
  static async start(from: TestPod, to: TestPod, host: string, port: number): Promise<Conversation> {
    const server = to.script(
      `require('net').createServer((s) => s.pipe(s).on('error', () => {})).listen(${port}, () => console.log('ready'))`,
    );
    await new Promise((resolve) => server.stdout!.once('data', resolve));
    const conversation = new Conversation(
      from.script(`const s = require('net').connect(${port}, '${host}'); process.stdin.pipe(s).pipe(process.stdout)`),
    );
    if (!(await conversation.says('hello', 5000))) throw new Error(`no answer from ${host}:${port}`);
    return conversation;
  }

  /** Sends a line; whether it has come back within `ms`. */
  async says(line: string, ms: number): Promise<boolean> {
    this.#client.stdin!.write(`${line}\n`);
    return await this.hears(line, ms);
  }

  /** Whether the line has come back, or does within `ms`. */
  async hears(line: string, ms: number): Promise<boolean> {
    const deadline = AbortSignal.timeout(ms);
    while (!this.#heard.includes(`${line}\n`)) {
      if (deadline.aborted) return false;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        deadline.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    return true;
  }
}

/** A policy of a few rules: `ingress 1002 6/8080 deny` and the like; identity 0 and protocol 0 are any. */
export function policy(...rules: readonly string[]): MapStateView {
  const entries = rules.map(policyRule);
  return { size: entries.length, entries: () => entries };
}

export function policyRule(text: string): readonly [PolicyKey, PolicyEntry] {
  const [direction, identity, service, verdict] = text.split(' ') as [Direction, string, string?, string?];
  const [protocol = '0', port] = service?.split('/') ?? [];
  const deny = verdict === 'deny';
  return [
    {
      direction,
      identity: identityId(Number(identity)),
      protocol: Number(protocol),
      port: Number(port ?? 0),
      portPrefix: port === undefined ? 0 : 16,
    },
    { deny, proxyPort: 0, authType: 0, authExplicit: false, precedence: deny ? 200 : 100, cookie: 0 },
  ];
}

export const ALLOW_ALL = policy('ingress 0', 'egress 0');
