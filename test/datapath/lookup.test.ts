/** The kernel's policy lookup and its twin in agent/policy decide alike, whatever the entries. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { PortTable, type Entry } from '../../agent/policy/entry.ts';
import { lookup } from '../../agent/policy/lookup.ts';
import { portKey, portMask } from '../../agent/policy/ports.ts';
import { DROP_POLICY_DENIED, DROP_POLICY_DENY } from '../../bpf/gen/drops.ts';
import { ip, TCP } from './frame.ts';
import { TestNode, type EndpointPrograms, type TestRule } from './node.ts';

const POD = { id: 41, identity: 1041, ipv4: '10.0.0.41', ipv6: 'fd00::41' };
const PEER = '10.3.0.1';

let node: TestNode;
let pod: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint({ ...POD, config: { dropEvents: false } });
  node.events();
});
after(() => node[Symbol.dispose]());

const RUNS = Number(process.env['WEIR_PROPERTY_RUNS'] ?? 400);
const PORTS = [0, 1, 79, 80, 81, 443, 1024, 65535];

const rules = fc.array(
  fc.record({
    identity: fc.constantFrom(0, 0, 500, 501),
    protocol: fc.constantFrom(0, 6, 17),
    port: fc.constantFrom(...PORTS),
    portPrefix: fc.constantFrom(0, 3, 9, 15, 16),
    deny: fc.boolean(),
    precedence: fc.constantFrom(1, 2, 300, 0x8000_0000, 0xffff_ffff),
  }),
  { maxLength: 16 },
);
const packet = fc.record({
  identity: fc.constantFrom(500, 501, 502),
  protocol: fc.constantFrom(6, 17),
  port: fc.constantFrom(...PORTS),
});

interface Row {
  readonly rule: TestRule & { readonly identity: number };
  readonly key: number;
  readonly entry: Entry;
}

/** One row a key, numbered by its cookie. */
function rowsOf(
  generated: readonly (Omit<TestRule, 'direction'> &
    Record<'identity' | 'protocol' | 'port' | 'portPrefix' | 'precedence', number>)[],
): Row[] {
  const rows = new Map<string, Row>();
  for (const [i, raw] of generated.entries()) {
    const portPrefix = raw.protocol === 0 ? 0 : raw.portPrefix;
    const port = raw.port & portMask(portPrefix);
    const key = portKey(raw.protocol, port, portPrefix);
    const cookie = i + 1;
    const rule = { ...raw, direction: 'ingress', port, portPrefix, cookie } as const;
    const entry: Entry = {
      verdict: raw.deny === true ? 'deny' : 'allow',
      precedence: raw.precedence,
      redirect: undefined,
      authType: 0,
      authExplicit: false,
      cookie,
    };
    rows.set(`${raw.identity} ${key}`, { rule, key, entry });
  }
  return [...rows.values()];
}

test('the deciding entry is the same', async () => {
  await fc.assert(
    fc.asyncProperty(rules, fc.array(packet, { minLength: 1, maxLength: 8 }), async (generated, packets) => {
      const rows = rowsOf(generated);
      const tableOf = (identity: number): PortTable =>
        new PortTable(new Map(rows.filter((row) => row.rule.identity === identity).map((row) => [row.key, row.entry])));
      pod.allow(...rows.map((row) => row.rule));
      try {
        for (const { identity, protocol, port } of packets) {
          const payload = protocol === 6 ? { tcp: [9, port] as const, flags: TCP.syn } : { udp: [9, port] as const };
          await node.forgetConnections();
          node.events();
          pod.run('policy_ingress', ip({ from: PEER, to: POD.ipv4, payload }), { sourceIdentity: identity });
          const [said] = node.events();
          const wanted = lookup(tableOf(identity), tableOf(0), protocol, port);
          const reason = wanted === undefined ? DROP_POLICY_DENIED : wanted.verdict === 'deny' ? DROP_POLICY_DENY : 0;
          assert.deepEqual([said!.reason, said!.cookie], [reason, wanted?.cookie ?? 0]);
        }
      } finally {
        pod.revoke(...rows.map((row) => row.rule));
      }
    }),
    { numRuns: RUNS },
  );
});
