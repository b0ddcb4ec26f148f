/** How much endpoints may send and be sent: what passes is paid for, what comes too fast is marked, then dropped. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  DIRECTION_EGRESS,
  DIRECTION_INGRESS,
  STATE_EGRESS_LIMITED,
  STATE_INGRESS_LIMITED,
} from '../../bpf/gen/constants.ts';
import { bandwidth, bandwidthKey, decode, encode, endpointState, u32 } from '../../bpf/gen/structs.ts';
import { checksum, ip, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type Ran } from './node.ts';

const POD = { id: 7, identity: 1007, ipv4: '10.0.0.7', ipv6: 'fd00::7' };
const LOCAL = { id: 8, identity: 1008, ipv4: '10.0.0.8', ipv6: 'fd00::8' };
const PEER = 2000;
const PEERS = { ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;

/** A microsecond a byte. */
const RATE = 1_000_000n;
const COST = 1000n;
/** So long that no test, however slow, comes near either end of a bucket by itself. */
const HOUR = 3_600_000_000_000n;
const DEPTH = 4n * HOUR;
/** CLOCK_MONOTONIC, as the programs have it. */
const now = (): bigint => process.hrtime.bigint();

const WAYS = [
  {
    program: 'from_container',
    direction: 'egress',
    number: DIRECTION_EGRESS,
    flag: STATE_EGRESS_LIMITED,
    other: STATE_INGRESS_LIMITED,
  },
  {
    program: 'to_container',
    direction: 'ingress',
    number: DIRECTION_INGRESS,
    flag: STATE_INGRESS_LIMITED,
    other: STATE_EGRESS_LIMITED,
  },
  {
    program: 'policy_ingress',
    direction: 'ingress',
    number: DIRECTION_INGRESS,
    flag: STATE_INGRESS_LIMITED,
    other: STATE_EGRESS_LIMITED,
  },
] as const;
type Way = (typeof WAYS)[number];

let node: TestNode;
let pod: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  node.endpoint(LOCAL).allow({ direction: 'ingress' });
  pod.allow({ direction: 'egress' }, { direction: 'ingress' });
  for (const address of Object.values(PEERS)) node.ipcache(address, PEER);
});
after(() => node[Symbol.dispose]());
beforeEach(() => node.forgetConnections());

function setFlags(id: number, flags: number): void {
  const key = encode(u32, id);
  const state = decode(endpointState, node.maps.weir_revision.lookup(key)!);
  node.maps.weir_revision.update(key, encode(endpointState, { ...state, flags }));
}

/** A bucket that is paid for until `ahead` nanoseconds from now. */
function limit(
  { number, flag }: Pick<Way, 'number' | 'flag'>,
  ahead: bigint,
  flags: number = flag,
  id = POD.id,
): bigint {
  const paidUntil = now() + ahead;
  node.maps.weir_bandwidth.update(
    encode(bandwidthKey, { endpoint: id, direction: number }),
    encode(bandwidth, { rate: RATE, depth: DEPTH, paidUntil }),
  );
  setFlags(id, flags);
  return paidUntil;
}

function paidUntil({ number }: Pick<Way, 'number'>, id = POD.id): bigint {
  const key = encode(bandwidthKey, { endpoint: id, direction: number });
  return decode(bandwidth, node.maps.weir_bandwidth.lookup(key)!).paidUntil;
}

/** The last byte of the IPv4 or the second of the IPv6 header's traffic class has ECN. */
function withEcn(frame: Buffer, bits: number): Buffer {
  const changed = Buffer.from(frame);
  if (changed.readUInt16BE(12) === 0x86dd) changed[15]! |= bits << 4;
  else {
    changed[15]! |= bits;
    changed.writeUInt16BE(0, 24);
    changed.writeUInt16BE(checksum(changed.subarray(14, 34)), 24);
  }
  return changed;
}

const ecnOf = (frame: Buffer): number => (frame.readUInt16BE(12) === 0x86dd ? (frame[15]! >> 4) & 3 : frame[15]! & 3);
const [NOT_CAPABLE, CAPABLE, CONGESTED] = [0, 2, 3];

for (const family of ['ipv4', 'ipv6'] as const) {
  const headers = family === 'ipv4' ? 34 : 54;

  for (const way of WAYS) {
    const { program, direction } = way;
    const frameOf = (payload: Payload): Buffer => {
      const [from, to] = direction === 'egress' ? [POD[family], PEERS[family]] : [PEERS[family], POD[family]];
      return ip({ from, to, payload });
    };
    const udp: Payload = { udp: [40000, 53], data: new Uint8Array(1000) };
    const run = (frame: Buffer, gsoSize = 0): Ran => pod.run(program, frame, { sourceIdentity: PEER, gsoSize });
    const dropped = async (): Promise<number> => (await node.counters())[`${direction} DROP_EDT_HORIZON`] ?? 0;

    describe(`${program}, ${family}`, () => {
      test('what passes is paid for, the first packet of a connection and the next', () => {
        const before = limit(way, HOUR);
        const frame = frameOf(udp);
        for (let i = 1n; i <= 3n; i++) {
          assert.notEqual(run(frame).verdict, 'drop');
          assert.equal(paidUntil(way), before + i * BigInt(frame.length) * COST);
        }
      });

      test('time that passed unused is lost', () => {
        limit(way, -HOUR);
        const frame = frameOf(udp);
        const began = now();
        assert.notEqual(run(frame).verdict, 'drop');
        const ended = now();
        const start = paidUntil(way) - BigInt(frame.length) * COST;
        assert.ok(start >= began && start <= ended, `${start} is not between ${began} and ${ended}`);
      });

      test('what comes too fast is dropped, with its reason, and pays nothing', async () => {
        const before = limit(way, DEPTH + HOUR);
        const drops = await dropped();
        node.events();
        assert.equal(run(frameOf(udp)).verdict, 'drop');
        assert.equal(paidUntil(way), before);
        assert.equal(await dropped(), drops + 1);
        const reasons = node.events().map(({ type, reason }) => `${type} ${reason}`);
        assert.ok(reasons.includes('1 162'), reasons.join());
      });

      test('a packet passes whole, however little is left', () => {
        limit(way, DEPTH - HOUR);
        assert.notEqual(run(frameOf(udp)).verdict, 'drop');
      });

      test('those who understand it are told before anything is dropped', () => {
        const after = (bits: number, ahead: bigint): number => {
          limit(way, ahead);
          const { verdict, frame } = run(withEcn(frameOf(udp), bits));
          assert.notEqual(verdict, 'drop');
          if (family === 'ipv4') assert.equal(checksum(frame.subarray(14, 34)), 0);
          return ecnOf(frame);
        };
        assert.equal(after(CAPABLE, DEPTH / 2n + HOUR), CONGESTED);
        assert.equal(after(CAPABLE, DEPTH / 2n - HOUR), CAPABLE);
        assert.equal(after(NOT_CAPABLE, DEPTH / 2n + HOUR), NOT_CAPABLE);
      });

      test('a packet that the kernel will cut costs what its parts do', () => {
        const body = Buffer.concat([
          frameOf({ tcp: [40001, 80], flags: TCP.syn }).subarray(headers),
          Buffer.alloc(2500),
        ]);
        const frame = frameOf({ raw: body, protocol: 6 });
        // 1000, 1000 and 500 bytes, each with headers.
        const before = limit(way, HOUR);
        assert.notEqual(run(frame, 1000).verdict, 'drop');
        assert.equal(paidUntil(way), before + BigInt(2500 + 3 * (headers + 20)) * COST);
        const datagrams = limit(way, HOUR);
        run(frameOf({ udp: [40002, 53], data: new Uint8Array(1000) }), 500);
        assert.equal(paidUntil(way), datagrams + BigInt(1000 + 2 * (headers + 8)) * COST);
      });

      test('nobody looks for the limit of who has none, or has one the other way', () => {
        for (const flags of [0, way.other]) {
          const before = limit(way, DEPTH + HOUR, flags);
          assert.notEqual(run(frameOf(udp)).verdict, 'drop');
          assert.equal(paidUntil(way), before);
        }
      });

      test('a limit that is just being lifted limits nothing', () => {
        limit(way, DEPTH + HOUR);
        node.maps.weir_bandwidth.delete(encode(bandwidthKey, { endpoint: POD.id, direction: way.number }));
        assert.notEqual(run(frameOf(udp)).verdict, 'drop');
      });

      test('what policy denies is not paid for', () => {
        pod.revoke({ direction });
        node.raiseRevision(POD.id);
        try {
          const before = limit(way, HOUR);
          assert.equal(run(frameOf(udp)).verdict, 'drop');
          assert.equal(paidUntil(way), before);
        } finally {
          pod.allow({ direction });
          node.raiseRevision(POD.id);
        }
      });
    });
  }

  test(`from pod to pod of one node, ${family}: the one pays for what it sends, the other for what it gets`, () => {
    const frame = ip({ from: POD[family], to: LOCAL[family], payload: { udp: [40000, 53] } });
    const [egress, , ingress] = WAYS;
    const sends = limit(egress, HOUR);
    const gets = limit(ingress, HOUR, undefined, LOCAL.id);
    assert.equal(pod.run('from_container', frame).verdict, 'redirect');
    assert.equal(paidUntil(egress), sends + BigInt(frame.length) * COST);
    assert.equal(paidUntil(ingress, LOCAL.id), gets + BigInt(frame.length) * COST);
    limit(ingress, DEPTH + HOUR, undefined, LOCAL.id);
    assert.equal(pod.run('from_container', frame).verdict, 'drop');
    setFlags(LOCAL.id, 0);
  });
}
