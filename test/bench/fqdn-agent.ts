/**
 * The agent's side of names on memory instead of a kernel: identities, ipcache, file. What an answer costs from the proxy's
 * telling to the acknowledgement, what a rotating name costs, and whether anything grows.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Names } from '../../agent/daemon/names/names.ts';
import { DEFAULT_NAME_LIMITS } from '../../agent/fqdn/namecache.ts';
import type { NameSelector } from '../../agent/fqdn/nameselectors.ts';
import { IdentityRegistry } from '../../agent/identity/registry.ts';
import { Ipcache } from '../../agent/ipcache/ipcache.ts';
import { parseCidr, type Address } from '../../agent/model/address.ts';
import { endpointId } from '../../agent/model/endpoint.ts';
import { identityId, RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import { ManualClock } from '../../agent/model/manual-clock.ts';

/** An answer on its way to an endpoint. */
export interface Answer {
  readonly endpoint: number;
  readonly name: string;
  readonly addresses: readonly Address[];
}

/** The agent's names among the addresses of a thousand pods and the prefixes of some policies. */
export class AgentNames implements AsyncDisposable {
  readonly clock = new ManualClock(1_700_000_000_000);
  readonly #dir = mkdtempSync(path.join(tmpdir(), 'weir-bench-names-'));
  readonly #ipcache = new Ipcache();
  #names!: Names;

  static async open(selectors: readonly NameSelector[]): Promise<AgentNames> {
    const made = new AgentNames();
    made.#populate();
    const { registry: identities } = await IdentityRegistry.open({
      ...{ stateDir: made.#dir, clock: made.clock },
      onChange: () => undefined,
    });
    made.#names = new Names({
      ...{ clock: made.clock, ipcache: made.#ipcache, identities, families: { ipv4: true, ipv6: true } },
      ...{ minTtl: 0, limits: DEFAULT_NAME_LIMITS, path: path.join(made.#dir, 'names.jsonl') },
      resolve: () => Promise.reject(new Error('nobody asks')),
      settlePolicies: () => Promise.resolve(),
      flushIpcache: () => Promise.resolve(),
      onError: (message, error) => console.error(message, error),
    });
    await made.#names.select(selectors);
    return made;
  }

  get counts() {
    return { ...this.#names.counts, ipcache: this.#ipcache.size };
  }

  async learn(answers: readonly Answer[], ttl: number): Promise<void> {
    for (const { endpoint, name, addresses } of answers) {
      const work = this.#names.learn(endpointId(endpoint + 1), name, addresses, ttl);
      if (work !== undefined) await work;
    }
  }

  /** Time passes, then a conntrack collection sees nothing. */
  async pass(seconds: number): Promise<void> {
    await this.clock.advance(seconds * 1000);
    this.#names.collected(this.clock.now(), () => false);
    await this.#names.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#names.stop();
    rmSync(this.#dir, { recursive: true });
  }

  #populate(): void {
    const put = (cidr: string, identity: number, source: 'reserved' | 'local' | 'generated'): void =>
      this.#ipcache.upsert({ prefix: parseCidr(cidr), identity: identityId(identity), source, owner: cidr });
    put('0.0.0.0/0', RESERVED_IDENTITY['world-ipv4'], 'reserved');
    put('::/0', RESERVED_IDENTITY['world-ipv6'], 'reserved');
    for (let i = 0; i < 1000; i++) put(`10.0.${i >> 8}.${i & 255}`, 300 + (i % 50), 'local');
    for (let length = 9; length <= 24; length++) put(`172.16.0.0/${length}`, 400 + length, 'generated');
  }
}
