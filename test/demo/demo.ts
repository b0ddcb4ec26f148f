/**
 * `npm run demo`: a node in a network namespace, an agent on a directory of manifests, five pods added by the real
 * weir-cni. Tries connections over TCP, UDP and ICMP, IPv4 and IPv6; shows what was allowed and denied, who decided and
 * why; changes a policy live; removes every trace. Exits non-zero if any verdict is not the expected one.
 */
import { Actor } from '../harness/actor.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { tryRun } from '../harness/exec.ts';
import { WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod } from '../harness/pod.ts';
import { sweep } from '../harness/sweep.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';
import { Decisions, decidedBy } from './decisions.ts';
import {
  ATTEMPTS,
  CHANGE,
  FIXED_ADDRESSES,
  MANIFESTS,
  NAMES,
  PODS,
  SERVED_PORTS,
  type ActorName,
  type Attempt,
  type PodName,
} from './scenario.ts';
import { bold, green, red, table } from './table.ts';

/** How long an attempt may take before it counts as denied: local round trips take far less than a millisecond. */
const TIMEOUT_MS = 1_000;

interface Stage {
  readonly node: WeirNode;
  readonly pods: ReadonlyMap<PodName, Pod>;
  readonly actors: ReadonlyMap<ActorName, Actor>;
  readonly decisions: Decisions;
}

const began = Date.now();
const say = (text: string): void => console.log(`\n${bold(`[${((Date.now() - began) / 1000).toFixed(1)} s] ${text}`)}`);

let wrong = 0;
const swept = sweep();
if (swept.length > 0) say(`cleared what an earlier run left behind: ${swept.join(', ')}`);
await demo();
say(wrong === 0 ? 'every verdict was the expected one' : `${wrong} verdict(s) were not the expected ones`);
process.exit(wrong === 0 ? 0 : 1);

async function demo(): Promise<void> {
  await using stack = new AsyncDisposableStack();
  say('a node and a host of the world, each in a network namespace of its own');
  const node = stack.use(new WeirNode({ name: 'demo' }));
  for (const [file, text] of Object.entries(MANIFESTS)) node.manifest(file, text);
  await node.startAgent();
  console.log(`the agent runs on ${Object.keys(MANIFESTS).join(', ')}`);

  say('pods, added by weir-cni as a container runtime does');
  const stage = await setTheStage(node, stack);
  const held = await stage.actors.get('web')!.do(holdCommand(stage));
  if (!held.startsWith('held ')) throw new Error(`the connection web → api could not be opened: ${held}`);
  const connection = Number(held.slice(5));

  say('connections tried, with the policies of the start');
  await tryAll(stage, (attempt) => attempt.before);
  await show(stage, 'endpoint', 'list');
  await show(stage, 'identity', 'list');
  await showPolicyOf(stage, 'api');

  say(`names: the scanner asks kube-dns, and may go where the answers say`);
  await tryNames(stage);

  say(`policy changed live: ${CHANGE.file} now lets db, and no longer web, call the API`);
  const before = await stage.actors.get('web')!.do({ op: 'say', id: connection, timeoutMs: ANSWER_MS });
  judge('the connection web → api that was opened before, before the change', 'ok', before);
  node.manifest(CHANGE.file, CHANGE.text);
  await waitFor('the change to take effect', async () => {
    const db = await stage.actors.get('db')!.do({ op: 'icmp', host: addressOf(stage, 'api', 4), timeoutMs: 200 });
    return db === 'ok';
  });
  const after = await stage.actors.get('web')!.do({ op: 'say', id: connection, timeoutMs: TIMEOUT_MS });
  judge('the same connection after the change', 'timeout', after);
  stage.decisions.clear();
  await tryAll(stage, (attempt) => attempt.after ?? attempt.before);

  say('removing the pods and the node');
  for (const pod of stage.pods.values()) await pod.cni('DEL');
  await judgeCleanliness(node);
}

async function setTheStage(node: WeirNode, stack: AsyncDisposableStack): Promise<Stage> {
  const pods = new Map<PodName, Pod>();
  const actors = new Map<ActorName, Actor>();
  for (const [name, { namespace }] of Object.entries(PODS) as [PodName, (typeof PODS)[PodName]][]) {
    const started = performance.now();
    const pod = stack.use(await Pod.create(node, name, namespace));
    pods.set(name, pod);
    actors.set(name, pod.actor);
    console.log(
      `${`${namespace}/${name}`.padEnd(14)} ${pod.ipv4.padEnd(14)} ${pod.ipv6.padEnd(22)} in ${(performance.now() - started).toFixed(0)} ms, its process included`,
    );
  }
  stack.use(await answerForNames(node, pods.get('kube-dns')!));
  actors.set('host', stack.use(await Actor.start(node.ns)));
  actors.set('world', stack.use(await Actor.start(node.world)));
  for (const actor of actors.values()) for (const port of SERVED_PORTS) await actor.do({ op: 'serve', port });
  const decisions = stack.use(new Decisions(node.socket));
  return { node, pods, actors, decisions };
}

/** Lets kube-dns answer for names of the world, and gives the world their addresses. */
async function answerForNames(node: WeirNode, { ns, ipv4, ipv6 }: Pod): Promise<DnsServerProcess> {
  for (const address of [...Object.values(NAMES.addresses), ...Object.values(NAMES.others)]) {
    const v6 = address.includes(':');
    node.world.ip(`addr add ${address}/${v6 ? 128 : 32} dev lo${v6 ? ' nodad' : ''}`);
    node.ns.ip(`route add ${address} via ${v6 ? WORLD_ADDRESSES.v6 : WORLD_ADDRESSES.v4}`);
  }
  const records = [`${NAMES.known}. 60 A ${NAMES.addresses[4]}`, `${NAMES.known}. 60 AAAA ${NAMES.addresses[6]}`];
  return await DnsServerProcess.start(ns, { kind: 'unbound', zone: NAMES.zone, records, addresses: [ipv4, ipv6] });
}

async function tryNames(stage: Stage): Promise<void> {
  const scanner = stage.actors.get('scanner')!;
  for (const family of [4, 6] as const) {
    for (const transport of ['udp', 'tcp'] as const) {
      const [asked, refused] = [NAMES.known, NAMES.unknown].map((name) => lookUp(stage, name, family, transport));
      judge(`${NAMES.known} asked for over ${transport}, IPv${family}`, NAMES.addresses[family], asked!);
      judge(`${NAMES.unknown} asked for over ${transport}, IPv${family}`, 'REFUSED', refused!);
    }
    const go = (host: string, timeoutMs = ANSWER_MS): Promise<string> =>
      scanner.do({ op: 'tcp', host, port: 8080, timeoutMs });
    judge(`connection to ${NAMES.known} at ${NAMES.addresses[family]}`, 'ok', await go(NAMES.addresses[family]));
    judge(
      `connection to ${NAMES.others[family]}, which no answer named`,
      'timeout',
      await go(NAMES.others[family], TIMEOUT_MS),
    );
  }
  await show(stage, 'fqdn', 'cache', 'list');
}

/** What the scanner hears from kube-dns: an address, or a code. */
function lookUp(stage: Stage, name: string, family: 4 | 6, transport: 'udp' | 'tcp'): string {
  const { ns } = stage.pods.get('scanner')!;
  const words = ['+time=5', '+tries=6', transport === 'tcp' ? '+tcp' : '+notcp', name, family === 4 ? 'A' : 'AAAA'];
  const { stdout } = tryRun([...ns.enter, 'dig', `@${addressOf(stage, 'kube-dns', family)}`, ...words]);
  const address = /\sIN\s+(?:A|AAAA)\s+(\S+)\n/.exec(stdout.replaceAll(/^;.*$/gm, ''))?.[1];
  return address ?? /status: (\w+)/.exec(stdout)?.[1] ?? 'no answer';
}

function addressOf(stage: Stage, name: ActorName, family: 4 | 6): string {
  if (name === 'host' || name === 'world') return FIXED_ADDRESSES[name][`v${family}`];
  const pod = stage.pods.get(name)!;
  return family === 4 ? pod.ipv4 : pod.ipv6;
}

function holdCommand(stage: Stage): { op: 'hold'; host: string; port: number; timeoutMs: number } {
  return { op: 'hold', host: addressOf(stage, 'api', 4), port: 8080, timeoutMs: ANSWER_MS };
}

/** Tries every attempt over both families and prints the table. */
async function tryAll(stage: Stage, expectedOf: (attempt: Attempt) => 'allow' | 'deny'): Promise<void> {
  const tried = ATTEMPTS.flatMap((attempt) => ([4, 6] as const).map((family) => ({ attempt, family })));
  const rows = await Promise.all(
    tried.map(({ attempt, family }) => tryOne(stage, attempt, family, expectedOf(attempt))),
  );
  console.log(table(['FROM', 'TO', 'PROTOCOL', 'IP', 'EXPECTED', 'SEEN', 'DECIDED BY', 'DROP REASON'], rows));
}

async function tryOne(stage: Stage, attempt: Attempt, family: 4 | 6, expected: 'allow' | 'deny'): Promise<string[]> {
  const { from, to, protocol, port } = attempt;
  const host = addressOf(stage, to, family);
  const actor = stage.actors.get(from)!;
  const timeoutMs = expected === 'allow' ? ANSWER_MS : TIMEOUT_MS;
  const outcome = await (protocol === 'icmp'
    ? actor.do({ op: 'icmp', host, timeoutMs })
    : actor.do({ op: protocol, host, port, timeoutMs }));
  // Weir drops what it denies; any other failure is neither an allowed nor a denied connection.
  const seen = outcome === 'ok' ? 'allow' : outcome === 'timeout' ? 'deny' : outcome;
  const events = await stage.decisions.about({
    source: from === 'host' ? undefined : addressOf(stage, from, family),
    destination: host,
    protocol,
    port,
  });
  const { by, reason } = decidedBy(events, seen === 'allow' ? 'allow' : 'deny');
  if (seen !== expected) wrong++;
  const mark = seen !== expected ? red(`${seen}  <- WRONG`) : seen === 'allow' ? green(seen) : red(seen);
  return [from, to, port === 0 ? protocol : `${protocol}/${port}`, `v${family}`, expected, mark, by, reason];
}

function judge(what: string, expected: string, seen: string): void {
  if (seen !== expected) wrong++;
  console.log(`${what}: ${seen === expected ? green(seen) : red(`${seen}  <- WRONG, expected ${expected}`)}`);
}

async function judgeCleanliness(node: WeirNode): Promise<void> {
  const list = await node.weir('endpoint', 'list', '-o', 'json');
  judge('endpoints left', '[]', list.stdout.replaceAll(/\s/g, ''));
  await node.stopAgent();
  const cleaned = await node.uninstall();
  judge('links, pins and processes left', '', [...cleaned, ...node.leftovers()].join(', '));
}

async function show(stage: Stage, ...words: string[]): Promise<void> {
  const { stdout, stderr, status } = await stage.node.weir(...words);
  console.log(`\n$ weir ${words.join(' ')}\n${stdout}${stderr}`.trimEnd());
  if (status !== 0) wrong++;
}

async function showPolicyOf(stage: Stage, name: PodName): Promise<void> {
  const list = await stage.node.weir('endpoint', 'list', '-o', 'json');
  const endpoints = JSON.parse(list.stdout) as {
    id: number;
    status: { 'external-identifiers': { 'k8s-pod-name'?: string } };
  }[];
  const found = endpoints.find((endpoint) => endpoint.status['external-identifiers']['k8s-pod-name'] === name);
  if (found === undefined) throw new Error(`weir endpoint list does not show ${name}`);
  await show(stage, 'bpf', 'policy', 'get', String(found.id));
}
