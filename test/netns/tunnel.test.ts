/** The tunnel at its edges: who must not be believed, and what does not fit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { ip, type IpFrame } from '../datapath/frame.ts';
import { Actor } from '../harness/actor.ts';
import { Cluster, type Member } from '../harness/cluster.ts';
import { runAsync } from '../harness/exec.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

const PORT = 8080;
const TUNNEL_PORT = 8472;
const MACS = { to: '02:00:00:00:00:01', from: '02:00:00:00:00:02' };

/** RFC 7348: flags, reserved, VNI, reserved; then the frame inside. */
function vxlan(vni: number, frame: IpFrame): string {
  const header = Buffer.alloc(8);
  header[0] = 0x08;
  header.writeUIntBE(vni, 4, 3);
  return Buffer.concat([header, ip({ macs: MACS, ...frame })]).toString('hex');
}

test('the tunnel at its edges', async (t) => {
  await using stack = new AsyncDisposableStack();
  const cluster = stack.use(await Cluster.start({ nodes: 2, flags: ['--routing-mode', 'tunnel'] }));
  const [one, two] = cluster.members as [Member, Member];
  for (const pod of ['client', 'server']) cluster.manifest(`${pod}.yaml`, podManifest(pod, { app: pod }));
  const client = stack.use(await Pod.create(one.node, 'client'));
  const server = stack.use(await Pod.create(two.node, 'server'));
  await server.actor.do({ op: 'serve', port: PORT });
  await cluster.publish();
  const identity = (await two.api.endpoints())[0]!.status!.identity!.id!;

  const gone = new AbortController();
  const events: MonitorEvent[] = [];
  const listening = (async () => {
    for await (const event of one.api.monitor(gone.signal)) events.push(event);
  })().catch((error: unknown) => {
    if (!gone.signal.aborted) throw error;
  });
  stack.defer(async () => {
    gone.abort();
    await listening;
  });
  const world = stack.use(await Actor.start(cluster.world));
  const node = stack.use(await Actor.start(two.node.ns));

  let sourcePort = 20_000;
  /** The first event from now on of a packet between two addresses. */
  const nextEvent = (source: string, destination: string): (() => Promise<MonitorEvent>) => {
    const before = events.length;
    const isIt = (event: MonitorEvent): boolean => event.source.ip === source && event.destination.ip === destination;
    return () => waitFor('the event', () => events.slice(before).find(isIt));
  };
  /** Sends a packet to the client through the tunnel, by hand. @returns what the client's node says of it */
  const forge = async (from: Actor, vni: number, source: string): Promise<string> => {
    const ports = [++sourcePort, PORT] as const;
    const to = source.includes(':') ? client.ipv6 : client.ipv4;
    const data = vxlan(vni, { from: source, to, payload: { udp: ports } });
    const next = nextEvent(source, to);
    await from.do({ op: 'datagram', host: one.ipv4, port: TUNNEL_PORT, data });
    const event = await next();
    return event.type === 'drop' ? event.reason : `${event.type} ${event.verdict ?? ''} ${event.source.identity}`;
  };

  const NO_IDENTITY = 'Tunnelled with an identity that no node may speak for';
  const LIES: readonly (readonly [what: string, from: Actor, vni: number, source: string, seen: string])[] = [
    ['a node, for its pod', node, identity, server.ipv4, `policy-verdict allow ${identity}`],
    ['a node, for its pod over IPv6', node, identity, server.ipv6, `policy-verdict allow ${identity}`],
    ['a node, for its host', node, 1, two.routers[0], 'policy-verdict allow 6'],
    ['a host of the world', world, identity, server.ipv4, "Tunnelled by an address that is no node's"],
    ['a number beyond the cluster', node, 70_000, server.ipv4, NO_IDENTITY],
    ['no identity', node, 0, server.ipv4, NO_IDENTITY],
    ['the world, with the address of a pod', node, 2, server.ipv4, NO_IDENTITY],
    ['a pod of the receiver', node, identity, client.ipv4, 'Invalid source ip'],
    ['the receiver itself', node, 1, one.routers[0], 'Invalid source ip'],
    ['the receiver itself, by its other address', node, 1, one.ipv4, NO_IDENTITY],
  ];
  for (const [what, from, vni, source, seen] of LIES) {
    await t.test(`who speaks: ${what}`, async () => assert.equal(await forge(from, vni, source), seen));
  }

  await t.test('the address of a remote pod is believed in the tunnel only', async () => {
    cluster.world.ip(`addr add ${server.ipv4}/32 dev lo`);
    const data = Buffer.from('hello').toString('hex');
    const localAddress = server.ipv4;
    const next = nextEvent(server.ipv4, client.ipv4);
    await world.do({ op: 'datagram', host: client.ipv4, port: 9, data, localAddress });
    const event = await next();
    assert.deepEqual([event.type, event.reason], ['drop', 'Invalid source ip']);
    cluster.world.ip(`addr del ${server.ipv4}/32 dev lo`);
  });

  await t.test('pods get what is left of the MTU', () => {
    assert.match(client.ns.ip('link show eth0'), /mtu 1450/);
  });

  await t.test('a pod that sends too much is told, or its packets are cut', async () => {
    const [endpoint] = await one.api.endpoints();
    one.node.ns.ip(`link set ${endpoint!.status!.networking!['interface-name']!} mtu 1500`);
    client.ns.ip('link set eth0 mtu 1500');
    const ping = async (...words: string[]): Promise<string> => {
      const { stdout, stderr } = await runAsync([...client.ns.enter, 'ping', '-n', '-c', '2', '-W', '30', ...words]);
      return stdout + stderr;
    };
    assert.match(await ping('-M', 'dont', '-s', '1472', server.ipv4), / 2 received/, 'cut by the node');
    assert.match(await ping('-M', 'do', '-s', '1472', server.ipv4), /Frag needed and DF set \(mtu = 1450\)/);
    assert.match(await ping('-M', 'do', '-s', '1452', server.ipv6), /Packet too big: mtu=1450/);
    for (const host of [server.ipv4, server.ipv6]) {
      assert.equal(
        await client.actor.do({ op: 'bulk', host, port: PORT, bytes: 1 << 20, timeoutMs: 4 * ANSWER_MS }),
        'ok',
      );
    }
  });
});
