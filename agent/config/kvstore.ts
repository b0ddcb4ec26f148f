import { parseEtcdOptions, type EtcdOptions } from '../model/kvstore.ts';
import type { KubernetesConfig } from './kubernetes.ts';
import type { Reader } from './reader.ts';

/** A store in which agents agree on identities, and tell each other of addresses and nodes. */
export type KvstoreConfig = EtcdOptions & { readonly leaseTtlSeconds: number };

/** Where identities are agreed on. */
export type IdentityAllocation = 'crd' | 'kvstore' | 'file';

export function readKvstore(reader: Reader): KvstoreConfig | undefined {
  if (reader.optional('kvstore') === undefined) return undefined;
  reader.oneOf('kvstore', ['etcd']);
  const leaseTtlSeconds = Math.round(reader.duration('kvstore-lease-ttl') / 1000);
  if (leaseTtlSeconds < 5) reader.fail('kvstore-lease-ttl', 'must be 5s at least');
  const options = reader.check('kvstore-opt', () => parseEtcdOptions(reader.list('kvstore-opt')));
  return Object.freeze({ ...options, leaseTtlSeconds });
}

export function readIdentityAllocation(reader: Reader, kubernetes: KubernetesConfig | undefined): IdentityAllocation {
  const kvstore = reader.optional('kvstore') !== undefined;
  const field =
    reader.optional('identity-allocation-mode') === undefined ? 'identity-allocation' : 'identity-allocation-mode';
  if (reader.optional(field) === undefined) return kvstore ? 'kvstore' : kubernetes === undefined ? 'file' : 'crd';
  const mode = reader.oneOf(field, ['crd', 'kvstore', 'file']);
  if (mode === 'crd' && kubernetes === undefined)
    reader.fail(field, 'crd needs an API server: see --k8s-kubeconfig-path');
  if (mode === 'kvstore' && !kvstore) reader.fail(field, 'kvstore needs a store: --kvstore etcd --kvstore-opt …');
  if (mode !== 'kvstore' && kvstore)
    reader.fail('kvstore', `with ${mode} there is nothing to keep in a store: say --identity-allocation-mode kvstore`);
  return mode;
}
