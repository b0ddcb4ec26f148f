import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { MAPS } from '../../../bpf/gen/maps.ts';
import { ct4Key, ctEntry, encode } from '../../../bpf/gen/structs.ts';
import { ConntrackMap } from './conntrack.ts';
import { MemoryMap } from './memory-map.ts';

const REST = { expires: 0n, judged: 1n, packets: [1n, 0n], bytes: [60n, 0n], cookie: 0, policyPort: 80 } as const;
const MORE = {
  ...{ proxyPort: 0, revNat: 0, direction: 1, flags: 0, touched: 0, peerEndpoint: 0 },
  ...{ flagsTraced: new Uint8Array(2), traced: 0, traceDue: 0 },
} as const;
const [WORLD, REMOTE_NODE] = [9, 6];

/** Connections of one pod: address and port of the remote end, and who that is. */
function connections(...remotes: readonly (readonly [address: string, port: number, identity: number])[]) {
  const map = new MemoryMap(MAPS.weir_ct4);
  for (const [i, [address, remotePort, peerIdentity]] of remotes.entries()) {
    const ends = { local: Uint8Array.of(10, 0, 0, 1), remote: parseAddress(address).bytes, localPort: 4000 + i };
    map.update(
      encode(ct4Key, { ...ends, remotePort, protocol: 6, scope: 0 }),
      encode(ctEntry, { ...REST, ...MORE, peerIdentity }),
    );
  }
  return new ConntrackMap(4, map);
}

test('connections with remote ends are deleted; the unspecified address stands for those of nodes', async () => {
  const conntrack = connections(
    ['192.0.2.2', 30080, REMOTE_NODE],
    ['192.0.2.2', 30081, REMOTE_NODE],
    ['203.0.113.1', 30080, WORLD],
    ['10.96.0.1', 80, WORLD],
  );
  await conntrack.deleteRemote(new Set(['0.0.0.0:30080/TCP', '10.96.0.1:80/TCP', '192.0.2.2:30081/UDP']));
  const left: string[] = [];
  for await (const { remote, remotePort } of conntrack.connections())
    left.push(`${remote.bytes.join('.')}:${remotePort}`);
  assert.deepEqual(left.sort(), ['192.0.2.2:30081', '203.0.113.1:30080']);
});
