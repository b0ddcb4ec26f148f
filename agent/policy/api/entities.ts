import type { EntityName, PeerSelector } from '../rule.ts';
import { list, string, then, type Decoder } from './decode.ts';

/** Every entity a rule may name (S23). */
export const ENTITIES: readonly EntityName[] = [
  'all',
  'world',
  'world-ipv4',
  'world-ipv6',
  'cluster',
  'cluster-mesh',
  'host',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'init',
  'health',
  'unmanaged',
  'none',
];

/** `fromEntities`, `toEntities`. */
export const entityPeers: Decoder<readonly PeerSelector[]> = list(
  then(string, (text, reading) => {
    const entity = ENTITIES.find((name) => name === text);
    return entity === undefined ? reading.unknownName('entity', text, ENTITIES) : { kind: 'entity' as const, entity };
  }),
);
