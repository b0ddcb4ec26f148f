/** What tests of the store share: a node's connection, session and identities. */
import { systemClock } from '../model/clock.ts';
import type { IdentityId } from '../model/identity.ts';
import { canonicalLabels, parseLabel, type Label } from '../model/labels.ts';
import { EtcdClient } from './etcd/client.ts';
import { KvstoreIdentities } from './identities.ts';
import { Session } from './session.ts';

/** Labels of texts such as `k8s:app=web`. */
export const labelsOf = (...texts: string[]): readonly Label[] =>
  canonicalLabels(texts.map((text) => parseLabel(text)));

/** A node that speaks to a store by itself. */
export class StoreNode implements AsyncDisposable {
  readonly client: EtcdClient;
  readonly session: Session;
  readonly identities: KvstoreIdentities;
  readonly leases: string[] = [];
  /** Identities that it takes others to use. */
  readonly used = new Set<IdentityId>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(
    name: string,
    url: string,
    options: { readonly ttlSeconds?: number; readonly path?: string; readonly last?: number } = {},
  ) {
    const { ttlSeconds = 30, path, last } = options;
    this.client = new EtcdClient({ config: { endpoints: [url] }, clock: systemClock, timeoutMs: 2_000 });
    this.session = new Session({
      ...{ client: this.client, clock: systemClock, ttlSeconds },
      ...(path !== undefined && { path }),
      onLease: (lease) => this.leases.push(lease),
    });
    this.identities = new KvstoreIdentities({
      ...{ client: this.client, session: this.session, clock: systemClock, nodeName: name, waitMs: 2_000 },
      isUsed: (id) => this.used.has(id),
      ...(last !== undefined && { scope: { first: 256, last } }),
    });
    this.#running = this.session.run(this.#stop.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.client[Symbol.dispose]();
  }
}
