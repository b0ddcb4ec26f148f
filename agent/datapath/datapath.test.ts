import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { formatAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import { changesOf } from '../model/mapstate.ts';
import { PROTOCOL } from '../model/port.ts';
import { DIRECTION_INGRESS, EVENT_DROP } from '../../bpf/gen/constants.ts';
import { DROP_POLICY_DENIED } from '../../bpf/gen/drops.ts';
import { event, type Event } from '../../bpf/gen/structs.ts';
import { RingBuffer } from '../kernel/ring-buffer.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { TcxLink } from '../kernel/tcx.ts';
import { inOwnNetns } from './own-netns.ts';
import {
  ALLOW_ALL,
  Conversation,
  OBJECTS_FOLDER,
  policy,
  policyRule,
  testNode,
  TestPod,
  type TestNode,
} from './traffic-testbed.ts';

/** Everything that endpoints leave in the node: links, pins, routes, entries. Empty when there is nothing. */
async function traces(node: TestNode): Promise<string[]> {
  using links = Rtnetlink.open();
  const found = links.links().map(({ name }) => name).filter((name) => name.startsWith('wr')); // prettier-ignore
  found.push(...readdirSync(node.bpfRoot).filter((name) => /^weir_policy_\d/.test(name)));
  found.push(...readdirSync(path.join(node.bpfRoot, 'links')).filter((name) => name !== 'node'));
  for (const family of [4, 6] as const) {
    const routes = links
      .routes(family)
      .filter(({ kind, index }) => kind === 'unicast' && index !== node.network.host.index);
    found.push(...routes.map(({ destination }) => `route ${formatAddress(destination.address)}`));
  }
  for await (const [address, { host }] of node.maps.lxc.entries())
    if (!host) found.push(`lxc ${formatAddress(address)}`);
  for (let id = 1; id < 50; id++) if (node.maps.call.has(endpointId(id))) found.push(`call ${id}`);
  for (const map of node.maps.conntrack) {
    for await (const { local, remote } of map.connections())
      found.push(`ct ${formatAddress(local)} ${formatAddress(remote)}`);
  }
  return found;
}

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;

if (inOwnNetns(import.meta.filename)) {
  describe('endpoints on a real kernel', () => {
    test('pods reach each other as far as policy goes, the host reaches them, and removal leaves nothing', async () => {
      await using node = await testNode();
      {
        await using a = await TestPod.create(node, 11);
        await using b = await TestPod.create(node, 12);
        await a.install(ALLOW_ALL);
        // Egress alone: nothing may come in.
        await b.install(policy('egress 0'));
        for (const pod of [a, b]) {
          const status = await node.endpoints.linkStatus(pod.link, `/proc/self/fd/${pod.netns.fd}`);
          assert.deepEqual([status.hostUp, status.container?.up, status.attached], [true, true, true]);
        }
        for (const to of b.addresses) assert.equal(await a.pings(formatAddress(to), 1), false, formatAddress(to));
        for (const to of a.addresses) assert.equal(await b.pings(formatAddress(to)), true, formatAddress(to));
        const [key, after] = policyRule(`ingress ${a.identity}`);
        await node.endpoints.updatePolicy(b.id, changesOf([[key, { before: undefined, after }]]));
        for (const to of b.addresses) assert.equal(await a.pings(formatAddress(to)), true, formatAddress(to));
        // The router answers, and nobody else's address leads anywhere.
        assert.equal(await a.pings('10.1.0.1'), true);
        assert.equal(await a.pings('fd00:1::1'), true);
        assert.equal(await a.pings('10.1.0.99', 1), false);
      }
      assert.deepEqual(await traces(node), []);
    });

    for (const family of [4, 6] as const) {
      test(`a policy change cuts an existing IPv${family} connection, and another heals it`, async () => {
        await using node = await testNode();
        await using a = await TestPod.create(node, 11);
        await using b = await TestPod.create(node, 12);
        await a.install(ALLOW_ALL);
        const [key, before] = policyRule(`ingress ${a.identity} 6/8080`);
        await b.install(policy(`ingress ${a.identity} 6/8080`, 'egress 0'));
        const talk = await Conversation.start(a, b, formatAddress(family === 4 ? b.ipv4 : b.ipv6), 8080);
        assert.equal(await talk.says('one', 30_000), true);
        await node.endpoints.updatePolicy(b.id, changesOf([[key, { before, after: undefined }]]));
        assert.equal(await talk.says('two', 700), false);
        await node.endpoints.replacePolicy(b.id, policy(`ingress ${a.identity} 6/8080`, 'egress 0'));
        assert.equal(await talk.hears('two', 30_000), true);
        // A deny for one identity beats the allow for all.
        await node.endpoints.replacePolicy(b.id, policy('ingress 0', `ingress ${a.identity} 6/8080 deny`, 'egress 0'));
        assert.equal(await talk.says('three', 700), false);
      });
    }

    test('programs of a running endpoint are replaced by update: the links stay the same', async () => {
      await using node = await testNode();
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      for (const pod of [a, b]) await pod.install(ALLOW_ALL);
      const talk = await Conversation.start(a, b, formatAddress(b.ipv4), 8080);
      const info = async () => {
        using link = TcxLink.openPinned(path.join(node.bpfRoot, 'links', String(b.id), 'from_container'));
        return await link!.info();
      };
      await node.endpoints.settle();
      const before = await info();
      await b.install(policy('ingress 0', 'egress 0', 'ingress 7'));
      const after = await info();
      assert.equal(after.id, before.id);
      assert.notEqual(after.programId, before.programId);
      assert.equal(await talk.says('after', 30_000), true);
    });

    test('another agent takes over: what stood goes on, what nobody knows is pruned', async () => {
      const node = await testNode();
      // Cleans up in place of the first.
      await using successor = await testNode({ bpfRoot: node.bpfRoot });
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      const c = await TestPod.create(node, 13);
      for (const pod of [a, b, c]) await pod.install(ALLOW_ALL);
      const limits = { egress: { rate: 1e9, depth: 1e9 } };
      for (const pod of [a, b, c]) await node.endpoints.setBandwidth(pod.id, limits);
      const talk = await Conversation.start(a, b, formatAddress(b.ipv4), 8080);
      assert.equal(await c.pings('10.1.0.11'), true);
      node[Symbol.dispose]();
      assert.equal(await talk.says('without an agent', 30_000), true);
      for (const pod of [a, b]) await pod.moveTo(successor, ALLOW_ALL);
      await successor.endpoints.prune(new Set([a.id, b.id]));
      assert.equal(await talk.says('after the prune', 30_000), true);
      const left = await traces(successor);
      const itsOwn = /^(13|call 13|weir_policy_13|wr0{9}d|(route|lxc|ct) (10\.1\.0\.13|fd00:1::d).*)$/;
      assert.deepEqual(left.filter((text) => itsOwn.test(text)), []); // prettier-ignore
      assert.ok(left.includes('weir_policy_11') && left.includes('lxc 10.1.0.12'), left.join(', '));
      assert.deepEqual([a, c].map(({ id }) => successor.endpoints.bandwidth(id)), [limits, {}]); // prettier-ignore
      await successor.endpoints.remove(b.id, [b.ipv4]);
      assert.deepEqual(successor.endpoints.bandwidth(b.id), {});
      const states = await successor.catalogue.dump('weir_revision');
      const limited = states.filter(({ value }) => value.includes('limited')).map(({ key }) => key);
      assert.deepEqual(limited, [String(a.id)]);
      c.netns.close();
    });

    test('what the verifier refuses changes nothing: neither a new endpoint nor one that stands', async () => {
      const objects = mkdtempSync(path.join(tmpdir(), 'weir-objects-'));
      try {
        cpSync(OBJECTS_FOLDER, objects, { recursive: true });
        const elf = readFileSync(path.join(OBJECTS_FOLDER, 'bpf_lxc.o'));
        await using node = await testNode();
        await using pod = await TestPod.create(node, 11);
        await pod.install(policy('egress 0'));
        // An end of a function becomes an instruction that there is not.
        elf.writeUInt8(0xff, elf.indexOf(Buffer.from('9500000000000000', 'hex')));
        writeFileSync(path.join(objects, 'bpf_lxc.o'), elf);
        await using successor = await testNode({ bpfRoot: node.bpfRoot, objects });
        const { id, identity, link, ipv4, ipv6 } = pod;
        const program = { id, identity, link, ipv4, ipv6, auditMode: false };
        await assert.rejects(successor.endpoints.install(program, ALLOW_ALL), isCode('BPF_LOAD_FAILED'));
        assert.deepEqual((await node.catalogue.dump('weir_policy_11')).map(({ key }) => key), ['Egress: 0 ANY']); // prettier-ignore
        assert.equal(await pod.pings('10.1.0.1'), true);
        await using other = await TestPod.create(successor, 12);
        await assert.rejects(other.install(ALLOW_ALL), isCode('BPF_LOAD_FAILED'));
        const left = (await traces(successor)).filter((text) => /12$|::c$|wr0{9}c/.test(text));
        assert.deepEqual(left, [other.link.hostIfName]);
      } finally {
        rmSync(objects, { recursive: true });
      }
    });

    test('a pod hears at once that policy denies what it sends, when that is wanted', async () => {
      await using node = await testNode({ settings: { denyResponse: true } });
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      await a.install(policy('ingress 0'));
      await b.install(ALLOW_ALL);
      const connect = (to: string): Promise<number> =>
        a.run(
          process.execPath,
          '-e',
          `const codes = { EHOSTUNREACH: 10, EACCES: 11 };
          require('net').connect({ port: 80, host: '${to}', timeout: 5000 })
            .on('timeout', () => process.exit(1)).on('error', ({ code }) => process.exit(codes[code] ?? 2));`,
        );
      assert.equal(await connect(formatAddress(b.ipv4)), 10);
      assert.equal(await connect(formatAddress(b.ipv6)), 11);
      // What b may not do to a is a's affair, and b hears nothing.
      await a.install(policy());
      assert.equal(await b.pings(formatAddress(a.ipv4), 1), false);
    });

    test('a vanished link or a full map leave nothing of a new endpoint; one that stands locks down', async () => {
      await using node = await testNode({ sizes: { weir_policy: 2, weir_ipcache: 64 } });
      await using pod = await TestPod.create(node, 11);
      const many = policy('ingress 0', 'egress 0', 'ingress 9');
      await assert.rejects(pod.install(many), isCode('BPF_MAP_FULL'));
      const gone = { ...pod.link, hostIfIndex: 9999 as typeof pod.link.hostIfIndex };
      const program = { id: pod.id, identity: pod.identity, link: gone, ipv4: pod.ipv4, auditMode: false };
      await assert.rejects(node.endpoints.install(program, ALLOW_ALL), isCode('NETLINK_FAILED'));
      assert.deepEqual(await traces(node), [pod.link.hostIfName]);
      await assert.rejects(node.endpoints.updatePolicy(pod.id, changesOf([])), isCode('ENDPOINT_NOT_FOUND'));

      // An endpoint that stands is locked down instead, and says so, until its policy fits.
      await using peer = await TestPod.create(node, 12);
      await peer.install(ALLOW_ALL);
      await pod.install(ALLOW_ALL);
      assert.equal(await peer.pings('10.1.0.11'), true);
      await assert.rejects(node.endpoints.replacePolicy(pod.id, many), isCode('BPF_MAP_FULL'));
      assert.deepEqual(node.endpoints.lockdowns(), [pod.id]);
      assert.equal(await peer.pings('10.1.0.11', 1), false);
      await node.endpoints.replacePolicy(pod.id, ALLOW_ALL);
      assert.deepEqual(node.endpoints.lockdowns(), []);
      assert.equal(await peer.pings('10.1.0.11'), true);
    });

    test('drops come out of the ring buffer, maps can be listed and dumped', async () => {
      await using node = await testNode();
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      await a.install(ALLOW_ALL);
      await b.install(policy());
      const dropped = await new Promise<Event>((resolve) => {
        const buffer = RingBuffer.open(node.maps.get('weir_events').fd, (data, offset) => {
          const record = event.read(data, offset);
          if (record.type !== EVENT_DROP || record.protocol !== PROTOCOL.ICMP) return;
          buffer.close();
          resolve(record);
        });
        // Nobody answers, and the file ends no sooner than ping does.
        void a.pings('10.1.0.12', 1);
      });
      assert.equal(dropped.reason, DROP_POLICY_DENIED);
      assert.deepEqual([dropped.endpoint, dropped.direction], [b.id, DIRECTION_INGRESS]);
      assert.deepEqual([dropped.sourceIdentity, dropped.destinationIdentity], [a.identity, b.identity]);
      assert.deepEqual(dropped.destination.slice(0, 4), b.ipv4.bytes);
      assert.ok(node.catalogue.list().some(({ name }) => name === 'weir_policy_11'));
      const dump = await node.catalogue.dump('weir_policy_11');
      assert.deepEqual(dump.map(({ key }) => key).sort(), ['Egress: 0 ANY', 'Ingress: 0 ANY']);
      const metrics = await node.catalogue.dump('weir_metrics');
      assert.ok(
        metrics.some(({ fields }) => fields['reason'] === 'Policy denied' && fields['direction'] === 'ingress'),
      );
      await assert.rejects(node.catalogue.dump('weir_policy_99'), isCode('MAP_NOT_FOUND'));
      await assert.rejects(node.catalogue.dump('../../etc/passwd'), isCode('MAP_NOT_FOUND'));
    });
  });
}
