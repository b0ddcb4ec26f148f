import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseMac } from '../../agent/model/mac.ts';
import { arp, checksum, ip, neighbour, pseudo6 } from './frame.ts';
import { endpointMacs, TestNode, type EndpointPrograms } from './node.ts';

const POD = { id: 5, identity: 1005, ipv4: '10.0.0.5', ipv6: 'fd00::5' };
const { pod: podMac, host: hostMac } = endpointMacs(POD.id);
const NOBODY = '00:00:00:00:00:00';

/** A frame with one byte other. */
function changed(frame: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(frame);
  copy[at] = value;
  return copy;
}

/** Messages that no pod may send, of those that the tests before the count send. */
let forbidden = 3;
let node: TestNode;
let pod: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
});
after(() => node[Symbol.dispose]());

describe('what a pod asks its link', () => {
  test('an ARP request for anything is answered with the MAC of the host end', () => {
    const ran = pod.run(
      'from_container',
      arp({ operation: 1, sender: [podMac, POD.ipv4], target: [NOBODY, '10.0.0.1'] }),
    );
    assert.equal(ran.verdict, 'redirect');
    const answer = arp({ operation: 2, sender: [hostMac, '10.0.0.1'], target: [podMac, POD.ipv4] });
    answer.set(parseMac(podMac), 0);
    assert.deepEqual(ran.frame, answer);
  });

  const left = [
    ['a probe from 0.0.0.0', { operation: 1, sender: [podMac, '0.0.0.0'], target: [NOBODY, POD.ipv4] }, 'ok'],
    ['an announcement', { operation: 1, sender: [podMac, POD.ipv4], target: [NOBODY, POD.ipv4] }, 'ok'],
    ['an answer to the host', { operation: 2, sender: [podMac, POD.ipv4], target: [hostMac, '10.0.0.1'] }, 'ok'],
    [
      'an answer for another address',
      { operation: 2, sender: [podMac, '10.0.0.6'], target: [hostMac, '10.0.0.1'] },
      'drop',
    ],
    [
      'a question in the name of another',
      { operation: 1, sender: [podMac, '10.0.0.6'], target: [NOBODY, '10.0.0.1'] },
      'drop',
    ],
  ] as const;
  for (const [name, message, verdict] of left) {
    test(`${name}: ${verdict}`, () => {
      const frame = arp({ ...message, sender: [...message.sender], target: [...message.target] });
      assert.equal(pod.run('from_container', frame).verdict, verdict);
    });
  }

  const question = arp({ operation: 1, sender: [podMac, POD.ipv4], target: [NOBODY, '10.0.0.1'] });
  const malformed: readonly (readonly [string, Buffer])[] = [
    ['cut off', question.subarray(0, 41)],
    ['of another hardware', changed(question, 15, 6)],
    ['about another protocol', changed(question, 16, 0x86)],
    ['with longer hardware addresses', changed(question, 18, 8)],
    ['with longer protocol addresses', changed(question, 19, 16)],
  ];
  for (const [name, frame] of malformed) {
    test(`an ARP request ${name}: dropped, with a reason of its own`, async () => {
      const before = (await node.counters())['egress DROP_INVALID_ARP'] ?? 0;
      assert.equal(pod.run('from_container', frame).verdict, 'drop');
      assert.equal((await node.counters())['egress DROP_INVALID_ARP'], before + 1);
    });
  }

  test('an option that is no link address is as good as none', () => {
    const asked = neighbour({ type: 135, from: POD.ipv6, to: 'fd00::1', target: 'fd00::1', mac: podMac });
    for (const other of [changed(asked, 78, 14), changed(asked, 79, 2)]) {
      const { verdict, frame } = pod.run('from_container', other);
      assert.deepEqual([verdict, frame.readUInt16BE(18)], ['redirect', 24]);
    }
  });

  for (const mac of [podMac, undefined]) {
    test(`a neighbour solicitation ${mac === undefined ? 'without' : 'with'} a link address is answered`, () => {
      const asked = neighbour({ type: 135, from: POD.ipv6, to: 'fd00::1', target: 'fd00::1', ...(mac && { mac }) });
      const { verdict, frame } = pod.run('from_container', asked);
      assert.equal(verdict, 'redirect');
      const length = mac === undefined ? 24 : 32;
      assert.deepEqual([...frame.subarray(0, 12)], [...parseMac(podMac), ...parseMac(hostMac)]);
      assert.equal(frame.readUInt16BE(14 + 4), length);
      const message = frame.subarray(54, 54 + length);
      assert.equal(checksum(Buffer.concat([pseudo6(frame.subarray(22, 54), length), message])), 0);
      assert.deepEqual(frame.subarray(22, 38), asked.subarray(62, 78), 'the asked address answers');
      assert.deepEqual(frame.subarray(38, 54), asked.subarray(22, 38), 'the asker is told');
      assert.equal(message[0], 136);
      assert.equal(message[4], 0xe0);
      if (mac !== undefined) assert.deepEqual([...message.subarray(24)], [2, 1, ...parseMac(hostMac)]);
    });
  }

  const messages: readonly (readonly [string, Buffer, string])[] = [
    ['duplicate address detection', neighbour({ type: 135, from: '::', to: 'ff02::1:ff00:5', target: POD.ipv6 }), 'ok'],
    [
      'its own advertisement',
      neighbour({ type: 136, from: POD.ipv6, to: 'fe80::1', target: POD.ipv6, mac: podMac }),
      'ok',
    ],
    [
      'an advertisement for another',
      neighbour({ type: 136, from: POD.ipv6, to: 'fe80::1', target: 'fd00::6', mac: podMac }),
      'drop',
    ],
    [
      'a solicitation that was routed',
      neighbour({ type: 135, from: POD.ipv6, to: 'fd00::1', target: 'fd00::1', ttl: 254 }),
      'drop',
    ],
    [
      'a solicitation in the name of another',
      neighbour({ type: 135, from: 'fd00::6', to: 'fd00::1', target: 'fd00::1' }),
      'drop',
    ],
    [
      'its own advertisement of an address of the link',
      neighbour({ type: 136, from: 'fe80::5', to: 'fe80::1', target: 'fe80::5', mac: podMac }),
      'ok',
    ],
    [
      'an advertisement from another’s address',
      neighbour({ type: 136, from: 'fd00::6', to: 'fe80::1', target: POD.ipv6, mac: podMac }),
      'drop',
    ],
    [
      'a router advertisement',
      ip({ from: 'fe80::5', to: 'ff02::1', ttl: 255, payload: { icmp: { type: 134 } } }),
      'drop',
    ],
    ['a redirect', ip({ from: 'fe80::5', to: 'ff02::1', ttl: 255, payload: { icmp: { type: 137 } } }), 'drop'],
    [
      'a router solicitation',
      ip({ from: 'fe80::5', to: 'ff02::2', ttl: 255, payload: { icmp: { type: 133 } } }),
      'drop',
    ],
    [
      'a multicast listener report',
      ip({ from: 'fe80::5', to: 'ff02::16', ttl: 1, payload: { icmp: { type: 143 } } }),
      'drop',
    ],
  ];
  for (const [name, frame, verdict] of messages) {
    test(`${name}: ${verdict}`, () => assert.equal(pod.run('from_container', frame).verdict, verdict));
  }

  test('a message cut off, of an unknown code, or behind other headers is forbidden', async () => {
    const asked = { type: 135, from: POD.ipv6, to: 'fd00::1', target: 'fd00::1' } as const;
    const options = Buffer.from([58, 0, 1, 4, 0, 0, 0, 0]);
    const quote = Buffer.from(neighbour(asked).subarray(62, 78));
    const frames = [
      neighbour(asked).subarray(0, 77),
      changed(neighbour(asked), 55, 1),
      ip({ ...asked, ttl: 255, options, firstExtension: 0, payload: { icmp: { type: 135, quote } } }),
    ];
    const before = await node.counters();
    for (const frame of frames) assert.equal(pod.run('from_container', frame).verdict, 'drop');
    const now = await node.counters();
    const more = (reason: string): number => (now[`egress ${reason}`] ?? 0) - (before[`egress ${reason}`] ?? 0);
    assert.deepEqual([more('DROP_CT_INVALID_HEADER'), more('DROP_FORBIDDEN_ICMP6')], [1, 2]);
    forbidden += 2;
  });

  test('reports and router solicitations are counted apart from what is forbidden', async () => {
    const counters = await node.counters();
    assert.equal(counters['egress DROP_LINK_LOCAL'], 2);
    assert.equal(counters['egress DROP_FORBIDDEN_ICMP6'], forbidden);
  });
});

describe('what the host asks the pod', () => {
  const passed: readonly (readonly [string, Buffer, string])[] = [
    ['ARP', arp({ operation: 1, sender: [hostMac, '10.0.0.1'], target: [NOBODY, POD.ipv4] }), 'ok'],
    [
      'a neighbour solicitation',
      neighbour({ type: 135, from: 'fe80::1', to: 'ff02::1:ff00:5', target: POD.ipv6, mac: hostMac }),
      'ok',
    ],
    [
      'one that was forwarded',
      neighbour({ type: 135, from: 'fd01::1', to: POD.ipv6, target: POD.ipv6, ttl: 63 }),
      'drop',
    ],
    [
      'a router advertisement',
      ip({ from: 'fe80::1', to: 'ff02::1', ttl: 255, payload: { icmp: { type: 134 } } }),
      'drop',
    ],
  ];
  for (const [name, frame, verdict] of passed) {
    test(`${name}: ${verdict}`, () => assert.equal(pod.run('to_container', frame).verdict, verdict));
  }
});
