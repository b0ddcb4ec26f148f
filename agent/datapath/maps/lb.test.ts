import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress, parseCidr } from '../../model/address.ts';
import { port, PROTOCOL } from '../../model/port.ts';
import { socketKey } from '../../model/service.ts';
import type { Backend, BackendId, Frontend, FrontendId, LbChanges } from '../../model/service.ts';
import { LB_TWO_SCOPES } from '../../../bpf/gen/constants.ts';
import { MAPS, type MapName } from '../../../bpf/gen/maps.ts';
import { decode, encode, lbFlowKey, lbService, u32 } from '../../../bpf/gen/structs.ts';
import { LbMaps } from './lb-maps.ts';
import {
  decodeFrontend,
  decodeServiceKey,
  describeLbBackend,
  describeLbService,
  encodeServiceKey,
  hasTwoScopes,
} from './lb.ts';
import { MemoryMap } from './memory-map.ts';

const memory = (name: MapName) => new MemoryMap({ ...MAPS[name], name, maxEntries: 65_536 });

let maps: ReturnType<typeof handles>;
let lb: LbMaps;
let forgotten: string[];

function handles() {
  return {
    services: memory('weir_lb_services'),
    backends: memory('weir_lb_backends'),
    revnat: memory('weir_lb_revnat'),
    flows: memory('weir_lb_flows'),
    members: memory('weir_lb_members'),
    sourceRanges: memory('weir_lb_source_ranges'),
    maglev: memory('weir_lb_maglev'),
  };
}

beforeEach(() => {
  maps = handles();
  forgotten = [];
  const conntrack = {
    deleteRemote: (sockets: ReadonlySet<string>) => {
      forgotten.push(...sockets);
      return Promise.resolve({ alive: 0, deleted: 0 });
    },
  };
  lb = new LbMaps({ ...maps, conntrack: [conntrack] });
});

function backend(id: number): Backend {
  const address = parseAddress(id % 2 === 0 ? `10.0.0.${id}` : `fd00::${id}`);
  const socket = { address, port: port(8080), protocol: PROTOCOL.TCP };
  return { ...socket, id: id as BackendId, state: 'active', node: undefined, zone: undefined };
}

function frontend(id: number, backends: readonly number[], external = backends): Frontend {
  return {
    id: id as FrontendId,
    ...{ address: parseAddress(`10.96.0.${id}`), port: port(80), protocol: PROTOCOL.TCP },
    ...{ kind: 'ClusterIP', service: `default/s${id}`, portName: '', affinitySeconds: 0, sourceRanges: undefined },
    ...{ internalTrafficPolicy: 'Cluster', externalTrafficPolicy: 'Cluster' },
    backends: backends as BackendId[],
    externalBackends: external as BackendId[],
  };
}

const NONE: LbChanges = { backends: { update: [], delete: [] }, frontends: { update: [], delete: [] } };

/** What a packet would find: frontend → sockets of its backends. Fails where it would find nothing. */
function view(): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const [hex, value] of maps.services.held) {
    const { socket, slot, scope } = decodeServiceKey(Buffer.from(hex, 'hex'));
    if (slot !== 0) continue;
    const { count, id, flags } = decodeFrontend(value);
    if (scope === 'internal' && (flags & LB_TWO_SCOPES) !== 0) {
      assert.ok(maps.services.lookup(encodeServiceKey(socket, 0, 'external')), 'what slot 0 promises is there');
    }
    assert.ok(
      maps.revnat.lookup(encode(u32, id))?.some((byte) => byte !== 0),
      'there is a way back',
    );
    found[`${socketKey(socket)}${scope === 'external' ? '/e' : ''}`] = Array.from({ length: count }, (_, i) => {
      const bytes = maps.services.lookup(encodeServiceKey(socket, i + 1, scope));
      assert.ok(bytes !== undefined, `slot ${i + 1} of ${count}`);
      const number = decode(lbService, bytes).backend;
      const there = maps.backends.lookup(encode(u32, number));
      assert.ok(there !== undefined, `backend ${number}`);
      return describeLbBackend(encode(u32, number), there).value;
    });
  }
  return found;
}

describe("the services' maps", () => {
  test('hold what they are told, and at every moment every slot leads somewhere', async () => {
    const step = fc.record({
      id: fc.integer({ min: 1, max: 3 }),
      to: fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 6 }))),
      outside: fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 6 }))),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        maps = handles();
        lb = new LbMaps({ ...maps, conntrack: [] });
        for (const map of [maps.services, maps.backends, maps.revnat]) map.afterChange = view;
        const frontends = new Map<number, Frontend>();
        const backends = new Map<number, Backend>();
        for (const { id, to, outside } of steps) {
          const before = frontends.get(id);
          if (to === null) frontends.delete(id);
          else frontends.set(id, frontend(id, to, outside ?? to));
          const used = new Set([...frontends.values()].flatMap((f) => [...f.backends, ...f.externalBackends]));
          const fresh = [...used].filter((n) => !backends.has(n)).map(backend);
          const dead = [...backends.values()].filter((b) => !used.has(b.id));
          for (const item of fresh) backends.set(item.id, item);
          for (const item of dead) backends.delete(item.id);
          await lb.apply({
            backends: { update: fresh, delete: dead },
            frontends: {
              update: to === null ? [] : [frontends.get(id)!],
              delete: to === null && before !== undefined ? [before] : [],
            },
          });
          const names = (ids: readonly number[]) => ids.map((n) => `${socketKey(backend(n))} active`);
          const wanted = [...frontends.values()].flatMap((f) => [
            [socketKey(f), names(f.backends)],
            ...(hasTwoScopes(f) ? [[`${socketKey(f)}/e`, names(f.externalBackends)]] : []),
          ]);
          assert.deepEqual(view(), Object.fromEntries(wanted));
        }
        const slots = [...frontends.values()].reduce(
          (sum, f) => sum + 1 + f.backends.length + (hasTwoScopes(f) ? 1 + f.externalBackends.length : 0),
          0,
        );
        assert.equal(maps.services.held.size, slots, 'no slot is left over');
        assert.equal(maps.backends.held.size, backends.size);
      }),
    );
  });

  test('are known again, and cleared of what nobody wants', async () => {
    const update = [frontend(1, [1, 2]), frontend(2, [2])];
    await lb.apply({
      ...NONE,
      backends: { update: [backend(1), backend(2)], delete: [] },
      frontends: { update, delete: [] },
    });
    maps.flows.update(encode(lbFlowKey, { client: new Uint8Array(16), clientPort: 4000, service: 2 }), encode(u32, 7));
    const known = await lb.known();
    assert.equal(known.newestBackend, 7, 'a connection names a backend that is gone');
    assert.deepEqual(Object.fromEntries(known.frontends), { '10.96.0.1:80/TCP': 1, '10.96.0.2:80/TCP': 2 });
    assert.deepEqual(Object.fromEntries(known.backends), { '[fd00::1]:8080/TCP': 1, '10.0.0.2:8080/TCP': 2 });
    await lb.prune([frontend(1, [2])], [backend(2)]);
    await lb.apply({ ...NONE, frontends: { update: [frontend(1, [2])], delete: [] } });
    assert.deepEqual(view(), { '10.96.0.1:80/TCP': ['10.0.0.2:8080/TCP active'] });
    assert.equal(maps.services.held.size, 2);
    assert.equal(maps.backends.held.size, 1);
  });

  test('hold what only some frontends have, and give it up with them', async () => {
    const plain = { ...frontend(1, [1, 2], [2]), kind: 'LoadBalancer' } as const;
    const full: Frontend = { ...plain, affinitySeconds: 60, sourceRanges: ['192.0.2.0/24', 'fd00::/8'].map(parseCidr) };
    const table = () => Uint32Array.from({ length: 251 }, () => 2);
    const sizes = () => [maps.members.held.size, maps.sourceRanges.held.size, maps.maglev.held.size];
    const apply = async (item: Frontend, made?: typeof table): Promise<void> =>
      await lb.apply({ ...NONE, frontends: { update: [item], delete: [] }, table: made });
    await apply(full, table);
    assert.deepEqual(sizes(), [2, 1, 2], 'ranges of the other family say nothing');
    const flags = describeLbService(encodeServiceKey(full, 0), maps.services.lookup(encodeServiceKey(full, 0))!).fields;
    assert.equal(flags['flags'], 'sessionAffinity, check source-range, two-scopes, maglev');
    await apply({ ...full, backends: [1 as BackendId], externalBackends: [1 as BackendId] }, table);
    assert.deepEqual(sizes(), [1, 1, 2]);
    await apply(plain);
    assert.deepEqual(sizes(), [0, 0, 0]);
    await apply(full, table);
    // Another life, that knows nothing of this one.
    lb = new LbMaps({ ...maps, conntrack: [] });
    await lb.prune([plain], []);
    assert.deepEqual(sizes(), [0, 0, 0]);
    await apply(full, table);
    await lb.apply({ ...NONE, frontends: { update: [], delete: [full] } });
    assert.deepEqual(sizes(), [0, 0, 0]);
    assert.equal(maps.services.held.size, 0);
  });

  test('forget connections to a new address, and where connections of an old one went', async () => {
    const one = frontend(1, [2]);
    await lb.apply({
      ...NONE,
      backends: { update: [backend(2)], delete: [] },
      frontends: { update: [one], delete: [] },
    });
    await lb.apply({ ...NONE, frontends: { update: [one], delete: [] } });
    assert.deepEqual(forgotten, ['10.96.0.1:80/TCP'], 'once');
    for (const service of [1, 2]) {
      const client = new Uint8Array(16).fill(1);
      maps.flows.update(encode(lbFlowKey, { client, clientPort: 4000, service }), encode(u32, 2));
    }
    await lb.apply({ ...NONE, frontends: { update: [], delete: [one] } });
    const left = [...maps.flows.held.keys()].map((hex) => decode(lbFlowKey, Buffer.from(hex, 'hex')).service);
    assert.deepEqual(left, [2]);
  });

  test('read as people write sockets', async () => {
    await lb.apply({
      backends: { update: [backend(2)], delete: [] },
      frontends: { update: [frontend(1, [2])], delete: [] },
    });
    const told = [...maps.services.held]
      .map(([hex, value]) => describeLbService(Buffer.from(hex, 'hex'), value))
      .map(({ key, value }) => `${key} ${value}`);
    assert.deepEqual(told.sort(), [
      '10.96.0.1:80/TCP (0) id=1 count=1 type=ClusterIP flags=[non-routable]',
      '10.96.0.1:80/TCP (1) backend=2',
    ]);
  });
});
