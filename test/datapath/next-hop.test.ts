/** What a pod sends to pods of other nodes, routed past the host's stack, on real veth pairs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { endpointKey, encode } from '../../bpf/gen/structs.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { run, start, stop, tryRun, type Output } from '../harness/exec.ts';
import { HOST_IDENTITY, WiredNode, WORLD, type Family, type WiredPod } from './wired-node.ts';

/** A pod of another node: the namespace of the world plays that node. */
const REMOTE = { identity: 2000, ipv4: '10.9.0.1', ipv6: 'fd09::1' } as const;
/** One behind a way that takes small packets only. */
const NARROW = { identity: 2001, ipv4: '10.9.1.1', ipv6: 'fd09:1::1', mtu: 1300 } as const;

let wired: WiredNode;
let a: WiredPod;
let b: WiredPod;

before(async () => {
  wired = await WiredNode.start();
  a = wired.addPod({ id: 61, identity: 1061, ipv4: '10.0.0.61', ipv6: 'fd00::61' }, { directToNodes: 1 });
  b = wired.addPod({ id: 62, identity: 1062, ipv4: '10.0.0.62', ipv6: 'fd00::62' });
  wired.change(a, 'allow', { direction: 'egress' });
  for (const family of ['ipv4', 'ipv6'] as const) {
    for (const pod of [REMOTE, NARROW]) {
      wired.world.ip(`addr add ${pod[family]} dev lo`);
      wired.node.ipcache(pod[family], pod.identity);
    }
    wired.host.ip(`route add ${REMOTE[family]} via ${WORLD[family]}`);
    wired.host.ip(`route add ${NARROW[family]} via ${WORLD[family]} mtu lock ${NARROW.mtu}`);
  }
});
after(() => wired[Symbol.asyncDispose]());

const ping = (to: string, ...flags: string[]): Output =>
  tryRun([...a.ns.enter, 'ping', '-n', '-c', '1', '-W', '2', ...flags, to]);

/** Packets that the host's stack has forwarded so far. */
function forwarded(family: Family): number {
  const [file, name] = family === 'ipv4' ? ['snmp', 'ForwDatagrams'] : ['snmp6', 'Ip6OutForwDatagrams'];
  const text = run([...wired.host.enter, 'cat', `/proc/net/${file}`]);
  if (family === 'ipv6') return Number(new RegExp(`${name}\\s+(\\d+)`).exec(text)![1]);
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Ip:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf(name)]);
}

for (const family of ['ipv4', 'ipv6'] as const) {
  describe(`past the host's stack, ${family}`, () => {
    test('there, and the stack sees the answer only', async () => {
      assert.equal(ping(REMOTE[family]).status, 0);
      const before = forwarded(family);
      assert.equal(ping(REMOTE[family]).status, 0);
      assert.equal(forwarded(family) - before, 1);
      await wired.node.forgetConnections();
    });

    test('one hop less, and the header is sound', async () => {
      const words = [
        '-i',
        'eth0',
        '-n',
        '-vv',
        '-l',
        '-c',
        '1',
        family === 'ipv4' ? 'icmp' : 'icmp6 and ip6[40] == 128',
      ];
      const capture = start([...wired.world.enter, 'tcpdump', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
      try {
        let text = '';
        capture.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        await once(capture.stderr!, 'data');
        const ended = once(capture, 'close');
        assert.equal(ping(REMOTE[family], '-t', '17').status, 0);
        await ended;
        assert.match(text, /(ttl|hlim) 16,/);
        assert.doesNotMatch(text, /bad/);
      } finally {
        await stop(capture, 'SIGKILL');
      }
    });

    test('the last hop is the stack’s to refuse', () => {
      assert.match(ping(REMOTE[family], '-t', '1').stdout, /Time to live exceeded|Time exceeded: Hop limit/);
    });

    test('so is what is too large for the way', () => {
      const large = ['-M', 'do', '-s', '1350'];
      assert.equal(ping(REMOTE[family], ...large).status, 0);
      const { stdout, stderr } = ping(NARROW[family], ...large);
      assert.match(stdout + stderr, /mtu ?= ?1300/);
    });

    test('a pod at an address that is another node’s for all we know does not take the sender for the host', async () => {
      // As in the moment in which an address moves here: the route is there already, the endpoint is not.
      const { family: number, bytes } = parseAddress(b[family]);
      const key = encode(endpointKey, { addr: bytes, family: number });
      const info = wired.node.maps.weir_lxc.lookup(key)!;
      const rule = { direction: 'ingress', identity: HOST_IDENTITY } as const;
      wired.node.maps.weir_lxc.delete(key);
      wired.change(b, 'allow', rule);
      try {
        assert.notEqual(ping(b[family]).status, 0);
        wired.change(b, 'allow', { direction: 'ingress', identity: a.identity });
        assert.equal(ping(b[family]).status, 0);
      } finally {
        wired.node.maps.weir_lxc.update(key, info);
        wired.change(b, 'revoke', rule, { direction: 'ingress', identity: a.identity });
        await wired.node.forgetConnections();
      }
    });
  });
}
