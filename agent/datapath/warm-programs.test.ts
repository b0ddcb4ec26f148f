import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { formatAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { identityId } from '../model/identity.ts';
import { ERRNO, isErrno } from '../kernel/errno.ts';
import { uniqueName } from '../kernel/testbed.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { Loader } from './loader.ts';
import { NodeMaps } from './node-maps.ts';
import { inOwnNetns } from './own-netns.ts';
import { Pins } from './pins.ts';
import { ALLOW_ALL, OBJECTS_FOLDER, policy, SIZES, testNode, TestPod, type TestNode } from './traffic-testbed.ts';

const linksOnHost = (): string[] => {
  using links = Rtnetlink.open();
  return links.links().map(({ name }) => name).filter((name) => name.startsWith('wr')); // prettier-ignore
};

const endpointPins = (node: TestNode): string[] => [
  ...readdirSync(node.bpfRoot).filter((name) => /^weir_policy_\d/.test(name)),
  ...readdirSync(path.join(node.bpfRoot, 'links')).filter((name) => name !== 'node'),
];

const openFiles = (): number => readdirSync('/proc/self/fd').length;

if (inOwnNetns(import.meta.filename)) {
  describe('programs loaded ahead', () => {
    test('an endpoint made of them and one made without are enforced alike, and the pool fills again', async () => {
      await using node = await testNode({ warmPrograms: 2 });
      await node.endpoints.warmUp();
      assert.equal(node.endpoints.warmPrograms, 2);
      await using a = await TestPod.create(node, 11);
      await using b = await TestPod.create(node, 12);
      await using cold = await TestPod.create(node, 13);
      await a.install(policy('egress 0'));
      await b.install(policy(`ingress ${a.identity}`, 'egress 0'));
      assert.equal(node.endpoints.warmPrograms, 0);
      await cold.install(policy(`ingress ${a.identity}`, 'egress 0'));
      for (const to of [b, cold]) {
        for (const address of to.addresses.map(formatAddress)) {
          assert.equal(await a.pings(address), true, address);
          assert.equal(await (to === b ? cold : b).pings(address, 1), false, address);
        }
        const status = await node.endpoints.linkStatus(to.link, `/proc/self/fd/${to.netns.fd}`);
        assert.equal(status.attached, true);
      }
      // Nobody may reach it: programs that did not know whose they are would let an answer of the router pass.
      assert.equal(await b.pings('10.1.0.11', 1), false);
      // Loaded anew, under the same policy.
      await b.install(policy('egress 0'));
      assert.equal(await a.pings('10.1.0.12', 1), false);
      await node.endpoints.warmUp();
      assert.equal(node.endpoints.warmPrograms, 2);
    });

    test('a link that becomes no endpoint leaves no link, pin or descriptor', async () => {
      await using node = await testNode({ warmPrograms: 1 });
      await node.endpoints.warmUp();
      const before = openFiles();
      const pod = await TestPod.create(node, 11);
      await pod[Symbol.asyncDispose]();
      await node.endpoints.warmUp();
      assert.deepEqual([linksOnHost(), endpointPins(node), openFiles()], [[], [], before]);
    });

    test('an install that fails leaves nothing, wherever it fails', async () => {
      await using node = await testNode({ warmPrograms: 1, sizes: { ...SIZES, weir_policy: 2 } });
      for (const fault of ['policy', 'link'] as const) {
        await node.endpoints.warmUp();
        const pod = await TestPod.create(node, 11);
        using links = Rtnetlink.open();
        if (fault === 'link') await links.removeLink(pod.link.hostIfName);
        await assert.rejects(
          pod.install(fault === 'policy' ? policy('ingress 0', 'ingress 7', 'egress 0') : ALLOW_ALL),
        );
        assert.deepEqual(endpointPins(node), [], fault);
        assert.equal(node.maps.call.has(pod.id), false);
        await pod[Symbol.asyncDispose]();
        assert.deepEqual(linksOnHost(), [], fault);
      }
    });

    test('what a killed agent had begun is pruned', async () => {
      await using node = await testNode({ warmPrograms: 1 });
      await node.endpoints.warmUp();
      const pod = await TestPod.create(node, 11);
      const successor = await testNode({ bpfRoot: node.bpfRoot });
      await successor.endpoints.prune(new Set());
      assert.deepEqual([linksOnHost(), endpointPins(node)], [[], []]);
      successor[Symbol.dispose]();
      await pod[Symbol.asyncDispose]();
    });

    test('whose they are is frozen', async () => {
      const pins = new Pins(path.join('/sys/fs/bpf', uniqueName('weir-test')));
      try {
        using maps = NodeMaps.open(pins, SIZES);
        const loader = await Loader.create(OBJECTS_FOLDER, pins, maps);
        using programs = await loader.loadWarm();
        const write = loader.configOf({
          id: endpointId(7),
          identity: identityId(4711),
          auditMode: false,
          link: {
            ...{ hostIfName: 'wr0', hostIfIndex: 1 as never, containerIfName: 'eth0', containerIfIndex: 2 as never },
            ...{ hostMac: new Uint8Array(6) as never, containerMac: new Uint8Array(6) as never, netnsInode: 1 },
          },
        });
        programs.embed(write);
        assert.throws(
          () => programs.embed(write),
          (error) => isErrno(error, ERRNO.EPERM),
        );
      } finally {
        await pins.removeAll();
      }
    });
  });
}
