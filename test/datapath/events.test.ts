/** What the programs report, and what they keep to themselves. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { readLeftOut, type LeftOutByType } from '../../agent/flow/event-losses.ts';
import { programTestRun } from '../../agent/kernel/test-run.ts';
import { parseAddress } from '../../agent/model/address.ts';
import * as C from '../../bpf/gen/constants.ts';
import * as D from '../../bpf/gen/drops.ts';
import { writeBpfHostConfig, type BpfLxcConfig } from '../../bpf/gen/config.ts';
import type { Event } from '../../bpf/gen/structs.ts';
import { waitFor } from '../harness/wait.ts';
import { ip, TCP } from './frame.ts';
import { TestNode, type EndpointPrograms } from './node.ts';

const PEER = { identity: 3000, ipv4: '10.2.0.1', ipv6: 'fd02::1' };
const EGRESS = { direction: 'egress', identity: PEER.identity, protocol: 6, port: 80, cookie: 77 } as const;

let node: TestNode;
let id = 30;
before(async () => {
  node = await TestNode.start();
  node.ipcache(PEER.ipv4, PEER.identity);
  node.ipcache(PEER.ipv6, PEER.identity);
  node.events();
});
after(() => node[Symbol.dispose]());
beforeEach(() => node.forgetConnections());

interface Pod {
  readonly id: number;
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly programs: EndpointPrograms;
}

function podWith(config: Partial<BpfLxcConfig>): Pod {
  id++;
  const endpoint = { id, identity: 1000 + id, ipv4: `10.0.0.${id}`, ipv6: `fd00::${id}`, config };
  return { ...endpoint, programs: node.endpoint(endpoint) };
}

const KIND = new Map<number, string>([
  [C.EVENT_DROP, 'drop'],
  [C.EVENT_TRACE, 'trace'],
  [C.EVENT_POLICY_VERDICT, 'verdict'],
]);
const kinds = (events: readonly Event[]): string[] => events.map((e) => KIND.get(e.type) ?? String(e.type));

for (const family of ['ipv4', 'ipv6'] as const) {
  const send = (pod: Pod, port: number, flags: number = TCP.syn): void =>
    void pod.programs.run(
      'from_container',
      ip({ from: pod[family], to: PEER[family], payload: { tcp: [4000, port], flags } }),
    );

  describe(`events, ${family}`, () => {
    test("a new connection is one verdict with the rule's cookie; what follows is silent", () => {
      const pod = podWith({});
      pod.programs.allow(EGRESS);
      send(pod, 80);
      const [verdict, ...more] = node.events();
      assert.deepEqual(more, []);
      const padded = Buffer.alloc(16);
      padded.set(parseAddress(pod[family]).bytes);
      assert.deepEqual(
        {
          type: verdict!.type,
          verdict: verdict!.verdict,
          match: verdict!.match,
          cookie: verdict!.cookie,
          endpoint: verdict!.endpoint,
          direction: verdict!.direction,
          family: verdict!.family,
          protocol: verdict!.protocol,
          flags: verdict!.tcpFlags,
          ports: [verdict!.sourcePort, verdict!.destinationPort],
          identities: [verdict!.sourceIdentity, verdict!.destinationIdentity],
          hook: verdict!.hook,
          status: verdict!.ctStatus,
          source: Buffer.from(verdict!.source),
          reason: verdict!.reason,
        },
        {
          type: C.EVENT_POLICY_VERDICT,
          verdict: C.VERDICT_ALLOW,
          match: C.MATCH_L3_L4,
          cookie: 77,
          endpoint: pod.id,
          direction: C.DIRECTION_EGRESS,
          family: family === 'ipv4' ? 4 : 6,
          protocol: 6,
          flags: TCP.syn,
          ports: [4000, 80],
          identities: [pod.identity, PEER.identity],
          hook: C.HOOK_FROM_CONTAINER,
          status: C.CT_STATUS_NEW,
          source: padded,
          reason: 0,
        },
      );
      assert.ok(process.hrtime.bigint() - verdict!.time < 10_000_000_000n, 'on the clock that Node reads too');
      send(pod, 80, TCP.ack);
      assert.deepEqual(node.events(), []);
    });

    test('a denial is a verdict and a drop, with the reason and the rule', () => {
      const pod = podWith({});
      send(pod, 80);
      assert.deepEqual(kinds(node.events()), ['verdict', 'drop']);
      pod.programs.allow({ ...EGRESS, deny: true });
      send(pod, 80);
      const [verdict, drop] = node.events();
      assert.deepEqual([verdict!.verdict, verdict!.cookie, verdict!.reason], [C.VERDICT_DENY, 77, D.DROP_POLICY_DENY]);
      assert.deepEqual([drop!.reason, drop!.destinationIdentity], [D.DROP_POLICY_DENY, PEER.identity]);
    });

    test('a connection that is cut is reported once as a verdict, then packet by packet as drops', () => {
      const pod = podWith({});
      pod.programs.allow(EGRESS);
      send(pod, 80);
      pod.programs.revoke(EGRESS);
      node.raiseRevision(pod.id);
      node.events();
      send(pod, 80, TCP.ack);
      send(pod, 80, TCP.ack);
      assert.deepEqual(kinds(node.events()), ['verdict', 'drop', 'drop']);
    });

    test('audit mode says what would have been', () => {
      const pod = podWith({ auditMode: true });
      send(pod, 80);
      const [verdict, ...more] = node.events();
      assert.deepEqual(more, []);
      assert.deepEqual([verdict!.verdict, verdict!.reason], [C.VERDICT_AUDIT, D.DROP_POLICY_DENIED]);
    });

    test('what audited policies would deny passes as if it were allowed, and says whose denial it would be', () => {
      const pod = podWith({});
      pod.programs.allow({ ...EGRESS, audited: true });
      send(pod, 80);
      const [verdict, ...more] = node.events();
      assert.deepEqual(more, []);
      assert.deepEqual(
        [verdict!.verdict, verdict!.cookie, verdict!.reason],
        [C.VERDICT_AUDIT, 77, D.DROP_POLICY_DENIED],
      );
      pod.programs.allow(EGRESS);
      node.raiseRevision(pod.id);
      send(pod, 80, TCP.ack);
      assert.deepEqual(
        node.events().map((event) => event.verdict),
        [C.VERDICT_ALLOW],
      );
      pod.programs.allow({ ...EGRESS, deny: true, audited: true });
      node.raiseRevision(pod.id);
      send(pod, 80, TCP.ack);
      assert.deepEqual(kinds(node.events()), ['verdict', 'drop']);
    });

    test('each kind can be switched off', () => {
      const quiet = podWith({ dropEvents: false });
      send(quiet, 80);
      assert.deepEqual(kinds(node.events()), ['verdict']);
      const silent = podWith({ dropEvents: false, verdictEvents: false });
      send(silent, 80);
      assert.deepEqual(node.events(), []);
    });

    /** Traces of packets that the pod sends with these flags, and that it gets with those after a `<`. */
    const traces = (pod: Pod, ...packets: readonly (number | readonly ['<', number])[]): readonly boolean[] =>
      packets.map((packet) => {
        if (typeof packet === 'number') send(pod, 80, packet);
        else {
          const payload = { tcp: [80, 4000] as [number, number], flags: packet[1] };
          pod.programs.run('policy_ingress', ip({ from: PEER[family], to: pod[family], payload }));
        }
        const events = node.events();
        assert.deepEqual(kinds(events), events.length === 0 ? [] : ['trace']);
        return events.length > 0;
      });
    const tracing = (config: Partial<BpfLxcConfig>): Pod => {
      const pod = podWith({ verdictEvents: false, traceEvents: true, ...config });
      pod.programs.allow(EGRESS);
      return pod;
    };
    const { syn, ack, fin, rst, psh } = TCP;

    describe('traces', () => {
      before(() => node.traced(true));
      after(() => node.traced(false));

      test('each way once at its start, and flags that were not seen that way', () => {
        const pod = tracing({ traceInterval: 3_600_000 });
        const packets = [syn, syn, ['<', syn | ack], ack, ['<', ack], ack | psh, fin | ack, fin | ack] as const;
        assert.deepEqual(traces(pod, ...packets), [true, false, true, false, false, false, true, false]);
        assert.deepEqual(traces(pod, ['<', fin | ack], ['<', fin | ack], rst, rst), [true, false, true, false]);
      });

      test('the flags are those that are asked for', () => {
        const pod = tracing({ traceInterval: 3_600_000, traceFlags: psh });
        assert.deepEqual(traces(pod, syn, ack, ack | psh, ack | psh, fin | ack), [true, false, true, false, false]);
      });

      test('each way once an interval', async () => {
        const pod = tracing({ traceInterval: 400 });
        assert.deepEqual(traces(pod, syn, ['<', syn | ack], ack, ['<', ack]), [true, true, false, false]);
        for (let round = 0; round < 2; round++) {
          // No longer than until one way is traced again: the other is then, too, and neither once more.
          await waitFor('the next interval', () => traces(pod, ack)[0]);
          assert.deepEqual(traces(pod, ['<', ack], ack, ['<', ack]), [true, false, false]);
        }
      });

      test('low: every packet where it goes; none: where it comes from as well', () => {
        const low = tracing({ traceAggregation: C.AGGREGATE_LOW });
        const none = tracing({ traceAggregation: C.AGGREGATE_NONE });
        for (const pod of [low, none]) {
          assert.deepEqual(traces(pod, syn, ack, ack, fin | ack), [true, true, true, true]);
        }
        for (const [traceAggregation, expected] of [
          [C.AGGREGATE_LOW, 0],
          [C.AGGREGATE_NONE, 1],
        ] as const) {
          using host = node.load('bpf_host', (view) =>
            writeBpfHostConfig(view, { traceEvents: true, traceAggregation }),
          );
          const frame = ip({ from: PEER[family], to: low[family], payload: { udp: [1, 2] } });
          programTestRun(host.program('from_netdev').fd, { data: frame });
          const points = node
            .events()
            .filter(({ type, hook }) => type === C.EVENT_TRACE && hook === C.HOOK_FROM_NETDEV);
          assert.equal(points.length, expected);
        }
      });

      test('from pod to pod of the node: told by the one that gets it; without aggregation, by both', () => {
        for (const [traceAggregation, expected] of [
          [C.AGGREGATE_MEDIUM, [C.HOOK_POLICY_INGRESS]],
          [C.AGGREGATE_LOW, [C.HOOK_POLICY_INGRESS]],
          [C.AGGREGATE_NONE, [C.HOOK_FROM_CONTAINER, C.HOOK_POLICY_INGRESS]],
        ] as const) {
          const [sender, receiver] = [tracing({ traceAggregation }), tracing({ traceAggregation })];
          sender.programs.allow({ direction: 'egress' });
          receiver.programs.allow({ direction: 'ingress' });
          const frame = ip({ from: sender[family], to: receiver[family], payload: { tcp: [4000, 80], flags: syn } });
          sender.programs.run('from_container', frame);
          const events = node.events();
          assert.deepEqual(
            events.map(({ type, hook }) => [type, hook]),
            expected.map((hook) => [C.EVENT_TRACE, hook]),
          );
        }
      });

      test('what is not tracked is new every time', () => {
        const pod = tracing({});
        pod.programs.allow({ direction: 'egress' });
        const question = { icmp: { type: family === 'ipv4' ? 13 : 139 } };
        for (let i = 0; i < 2; i++) {
          pod.programs.run('from_container', ip({ from: pod[family], to: PEER[family], payload: question }));
          assert.deepEqual(kinds(node.events()), ['trace']);
        }
      });

      test('none while nobody listens, whatever the level', () => {
        node.traced(false);
        for (const traceAggregation of [C.AGGREGATE_NONE, C.AGGREGATE_MEDIUM]) {
          assert.deepEqual(traces(tracing({ traceAggregation }), syn, ['<', syn | ack], ack), [false, false, false]);
        }
        node.traced(true);
      });
    });

    test('a limit leaves out what is more than the burst, counts it by type, and lets events through as time goes', async () => {
      const cost = 50_000_000n;
      const pod = podWith({ verdictEvents: true, eventCost: cost, eventBurst: 3n * cost });
      const leftOut = (): LeftOutByType => readLeftOut(node.maps.weir_event_accounts);
      const start = process.hrtime.bigint();
      const before = leftOut();
      for (let i = 0; i < 20; i++) send(pod, 80);
      const events = kinds(node.events());
      const after = leftOut();
      const earned = Number((process.hrtime.bigint() - start) / cost) + 1;
      for (const [type, kind] of [
        ['drop', 'drop'],
        ['policy-verdict', 'verdict'],
      ] as const) {
        const seen = events.filter((event) => event === kind).length;
        assert.ok(seen >= 3 && seen <= 3 + earned, `${seen} of type ${type}`);
        assert.equal(seen + after[type].limited - before[type].limited, 20, type);
        assert.equal(after[type].lost, before[type].lost);
      }
      await waitFor('credit', () => {
        send(pod, 80);
        return node.events().some(({ type }) => type === C.EVENT_DROP);
      });
    });

    test('a packet that breaks off the parse is reported with what was read', () => {
      const pod = podWith({});
      const frame = ip({ from: pod[family], to: PEER[family], payload: { raw: Buffer.alloc(4), protocol: 6 } });
      pod.programs.run('from_container', frame);
      const [drop] = node.events();
      assert.deepEqual([drop!.reason, drop!.protocol, drop!.length], [D.DROP_CT_INVALID_HEADER, 6, frame.length]);
    });

    test('a delivery that fails for want of a program is reported', () => {
      const pod = podWith({ verdictEvents: false });
      const ghost = family === 'ipv4' ? '10.0.0.250' : 'fd00::250';
      node.local(ghost, { id: 250, identity: 1250 });
      pod.programs.allow({ direction: 'egress' });
      pod.programs.run('from_container', ip({ from: pod[family], to: ghost, payload: { udp: [1, 2] } }));
      assert.deepEqual(
        node.events().map((e) => e.reason),
        [D.DROP_ENDPOINT_NOT_READY],
      );
    });

    test('policy accounting counts under the key of the entry that decided', async () => {
      const pod = podWith({ policyAccounting: true, verdictEvents: false });
      pod.programs.allow({ ...EGRESS, port: 64, portPrefix: 10 });
      send(pod, 80);
      send(pod, 81);
      const rows = [];
      for await (const { key, value } of node.maps.weir_policystats.entries()) rows.push({ key, value });
      const mine = rows.filter(({ key }) => key.readUInt16LE(0) === pod.id);
      assert.equal(mine.length, 1);
      const { key, value } = mine[0]!;
      assert.deepEqual(
        [key[2], key[3], key.readUInt32LE(4), key.readUInt16BE(8), key[10]],
        [1, 6, PEER.identity, 64, 18],
      );
      let packets = 0n;
      for (let at = 0; at < value.length; at += 16) packets += value.readBigUInt64LE(at);
      assert.equal(packets, 2n);
    });
  });
}

test('what does not fit into the ring buffer is counted', () => {
  const pod = podWith({ verdictEvents: false });
  const before = readLeftOut(node.maps.weir_event_accounts).drop;
  const frame = ip({ from: PEER.ipv4, to: pod.ipv4, payload: { udp: [1, 2] } });
  // One by one: many at once are begun again when a signal breaks them off, and there would be more of them.
  for (let sent = 0; sent < 2000; sent++) pod.programs.run('from_container', frame);
  const { lost, limited } = readLeftOut(node.maps.weir_event_accounts).drop;
  assert.ok(lost > before.lost);
  assert.equal(limited, before.limited);
  assert.equal(node.events().length + lost - before.lost, 2000);
});
