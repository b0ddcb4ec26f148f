import { isUnspecified } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { betterBackend, draftPod, draftService, NOTHING, sameNode } from './drafts.ts';
import type { BackendDraft, FrontendDraft, ServiceDraft } from './drafts.ts';
import {
  FRONTEND_KINDS,
  type Backend,
  type BackendId,
  type Frontend,
  type FrontendId,
  socketKey,
  type KnownIds,
  type LbChanges,
} from '../model/service.ts';
import { sameBackend, sameFrontend } from './frontend.ts';
import { IdPool } from './id-pool.ts';
import { maglevTable } from './maglev.ts';
import type { LbNode, LbPod, LbService, LbSlice, ServiceHealth } from './service.ts';

/** What travels with a connection is 16 bits wide. */
const FRONTEND_ID_MAX = 0xffff;
const BACKEND_ID_MAX = 0xffff_ffff;

/** Services and their slices, in whatever order they come → frontends and backends with numbers that stay. Pure. */
export class LoadBalancer {
  #node: LbNode;
  readonly #maglevTableSize: number | undefined;
  readonly #services = new Map<string, LbService>();
  readonly #slices = new Map<string, LbSlice>();
  /** By a key that no service has. */
  readonly #pods = new Map<string, LbPod>();
  readonly #slicesOf = new Map<string, Set<string>>();
  readonly #drafts = new Map<string, ServiceDraft>();
  readonly #frontendClaims = new Claims<FrontendDraft>();
  readonly #backendClaims = new Claims<BackendDraft>();
  readonly #frontends = new Map<string, Frontend>();
  readonly #backends = new Map<string, Backend>();
  readonly #refused = new Map<string, WeirError>();
  readonly #frontendIds: IdPool;
  readonly #backendIds: IdPool;
  readonly #dirty = new Set<string>();

  /** @param maglevTableSize places of the tables that spread clients from outside; undefined: they are spread at random */
  constructor(node: LbNode, known: KnownIds = { frontends: [], backends: [] }, maglevTableSize?: number) {
    this.#node = node;
    this.#maglevTableSize = maglevTableSize;
    this.#frontendIds = new IdPool('frontends', FRONTEND_ID_MAX, known.frontends);
    this.#backendIds = new IdPool('backends', BACKEND_ID_MAX, known.backends, known.newestBackend);
  }

  /** @param service undefined when it is gone */
  setService(namespace: string, name: string, service: LbService | undefined): void {
    put(this.#services, `${namespace}/${name}`, service);
    this.#dirty.add(`${namespace}/${name}`);
  }

  /** @param slice undefined when it is gone */
  setSlice(namespace: string, name: string, slice: LbSlice | undefined): void {
    const key = `${namespace}/${name}`;
    const before = serviceOf(this.#slices.get(key));
    const after = serviceOf(slice);
    put(this.#slices, key, slice);
    if (before !== undefined && before !== after) this.#slicesOf.get(before)?.delete(key);
    if (after !== undefined) getOr(this.#slicesOf, after, () => new Set()).add(key);
    for (const service of [before, after]) if (service !== undefined) this.#dirty.add(service);
  }

  /** @param pod undefined when it is gone, or has no host ports any more */
  setPod(namespace: string, name: string, pod: LbPod | undefined): void {
    put(this.#pods, `${namespace}/${name}/`, pod);
    this.#dirty.add(`${namespace}/${name}/`);
  }

  /** Node ports move with the node's addresses, and Local policies with its name. */
  setNode(node: LbNode): void {
    if (sameNode(this.#node, node)) return;
    this.#node = node;
    for (const service of this.#services.keys()) this.#dirty.add(service);
    for (const pod of this.#pods.keys()) this.#dirty.add(pod);
  }

  /** Everything that is in force as of the last call of {@link changes}. */
  get frontends(): readonly Frontend[] {
    return [...this.#frontends.values()];
  }

  get backends(): readonly Backend[] {
    return [...this.#backends.values()];
  }

  /** Frontends that some service asked for and did not get, by `service socket`. */
  get refused(): ReadonlyMap<string, WeirError> {
    return this.#refused;
  }

  /** What load balancers are to hear of services, by `namespace/name`. */
  health(): ReadonlyMap<string, ServiceHealth> {
    return new Map([...this.#drafts].flatMap(([name, { health }]) => (health === undefined ? [] : [[name, health]])));
  }

  /** What the changes since the last call come to. Nothing when they cancel each other. */
  changes(): LbChanges {
    const frontendKeys = new Set<string>();
    const backendKeys = new Set<string>();
    for (const name of this.#dirty) this.#redraft(name, frontendKeys, backendKeys);
    this.#dirty.clear();
    const backends = this.#settleBackends(backendKeys);
    const frontends = this.#settleFrontends(frontendKeys);
    for (const { key } of backends.gone) this.#backendIds.release(key);
    for (const { key } of frontends.gone) this.#frontendIds.release(key);
    return {
      backends: { update: backends.update, delete: backends.gone.map(({ was }) => was) },
      frontends: { update: frontends.update, delete: frontends.gone.map(({ was }) => was) },
    };
  }

  /**
   * For a frontend, numbers of the backends that clients from outside get, by Maglev; undefined when they are spread at
   * random. Cluster addresses and other nodes' ports are not for them, and need no table.
   */
  tables(): (frontend: Frontend) => Uint32Array | undefined {
    const size = this.#maglevTableSize;
    if (size === undefined) return () => undefined;
    const names = new Map([...this.#backends.values()].map((backend) => [backend.id, socketKey(backend)]));
    return ({ kind, address, externalBackends: ids }) => {
      if (kind === 'ClusterIP' || isUnspecified(address) || ids.length === 0) return undefined;
      const places = maglevTable(
        ids.map((id) => names.get(id)!),
        size,
      );
      return Uint32Array.from(places, (index) => ids[index]!);
    };
  }

  /** Once everything is known that is there: gives back the numbers of an earlier life that nobody asked for again. */
  forgetUnclaimed(): void {
    for (const key of this.#frontendIds.keys()) if (!this.#frontends.has(key)) this.#frontendIds.release(key);
    for (const key of this.#backendIds.keys()) if (!this.#backends.has(key)) this.#backendIds.release(key);
  }

  #redraft(name: string, frontendKeys: Set<string>, backendKeys: Set<string>): void {
    const before = this.#drafts.get(name) ?? NOTHING;
    const after = this.#draft(name);
    put(this.#drafts, name, after === NOTHING ? undefined : after);
    this.#frontendClaims.replace(name, before.frontends, after.frontends, frontendKeys);
    this.#backendClaims.replace(name, before.backends, after.backends, backendKeys);
  }

  #draft(name: string): ServiceDraft {
    const pod = this.#pods.get(name);
    if (pod !== undefined) return draftPod(name.slice(0, -1), pod, this.#node);
    const service = this.#services.get(name);
    if (service === undefined) return NOTHING;
    const slices = [...(this.#slicesOf.get(name) ?? [])].sort().map((key) => this.#slices.get(key)!);
    return draftService(name, service, slices, this.#node);
  }

  #settleBackends(keys: ReadonlySet<string>): Settled<Backend> {
    const settled: Settled<Backend> = { update: [], gone: [] };
    for (const key of keys) {
      const draft = this.#backendClaims
        .of(key)
        .reduce<BackendDraft | undefined>(
          (best, claim) => (best === undefined ? claim : betterBackend(best, claim)),
          undefined,
        );
      const after = draft && this.#backend(draft);
      settle(this.#backends, key, after, sameBackend, settled);
    }
    return settled;
  }

  #backend({ key, address, port, protocol, state, node, zone }: BackendDraft): Backend {
    const id = this.#backendIds.take(key) as BackendId;
    return { id, address, port, protocol, state, node, zone };
  }

  #settleFrontends(keys: ReadonlySet<string>): Settled<Frontend> {
    const settled: Settled<Frontend> = { update: [], gone: [] };
    for (const key of keys) {
      const [winner, ...losers] = [...this.#frontendClaims.of(key)].sort(byPrecedence);
      const after = winner && this.#frontend(winner);
      this.#forgetRefusals(key);
      if (winner !== undefined && after instanceof WeirError) this.#refuse(winner, after);
      for (const loser of losers) this.#refuse(loser, taken(loser, winner!));
      settle(this.#frontends, key, after instanceof WeirError ? undefined : after, sameFrontend, settled);
    }
    return settled;
  }

  #frontend(draft: FrontendDraft): Frontend | WeirError {
    let id: FrontendId;
    try {
      id = this.#frontendIds.take(draft.key) as FrontendId;
    } catch (error) {
      if (error instanceof WeirError) return error;
      throw error;
    }
    const numbers = (keys: readonly string[]) => keys.map((key) => this.#backends.get(key)!.id);
    // The key is the socket's own text, of no use to whoever has the socket.
    const { key: _key, ...said } = draft;
    return {
      ...said,
      id,
      backends: numbers(draft.backends),
      externalBackends: numbers(draft.externalBackends),
    };
  }

  readonly #refusals = new Map<string, string[]>();

  #refuse({ key, service }: FrontendDraft, error: WeirError): void {
    const name = `${service} ${key}`;
    this.#refused.set(name, error);
    getOr(this.#refusals, key, () => []).push(name);
  }

  #forgetRefusals(key: string): void {
    for (const name of this.#refusals.get(key) ?? []) this.#refused.delete(name);
    this.#refusals.delete(key);
  }
}

/** Who asks for what: several services may ask for one socket. */
class Claims<Draft extends { readonly key: string }> {
  readonly #byKey = new Map<string, Map<string, Draft>>();

  /** @param touched is added the keys of all that may have changed */
  replace(service: string, before: readonly Draft[], after: readonly Draft[], touched: Set<string>): void {
    for (const { key } of before) {
      const claims = this.#byKey.get(key);
      claims?.delete(service);
      if (claims?.size === 0) this.#byKey.delete(key);
      touched.add(key);
    }
    for (const draft of after) {
      getOr(this.#byKey, draft.key, () => new Map<string, Draft>()).set(service, draft);
      touched.add(draft.key);
    }
  }

  of(key: string): readonly Draft[] {
    return [...(this.#byKey.get(key)?.values() ?? [])];
  }
}

interface Settled<T> {
  readonly update: T[];
  readonly gone: { readonly key: string; readonly was: T }[];
}

function settle<T>(
  current: Map<string, T>,
  key: string,
  after: T | undefined,
  same: (a: T, b: T) => boolean,
  settled: Settled<T>,
): void {
  const before = current.get(key);
  put(current, key, after);
  if (after === undefined) {
    if (before !== undefined) settled.gone.push({ key, was: before });
  } else if (before === undefined || !same(before, after)) settled.update.push(after);
}

/**
 * Two services that ask for one socket: nobody takes a cluster address from its service by naming it as an external one
 * (CVE-2020-8554); between equals the name decides, so that every node decides alike.
 */
function byPrecedence(a: FrontendDraft, b: FrontendDraft): number {
  const kinds = FRONTEND_KINDS.indexOf(a.kind) - FRONTEND_KINDS.indexOf(b.kind);
  if (kinds !== 0) return kinds;
  return a.service < b.service ? -1 : 1;
}

function taken(loser: FrontendDraft, winner: FrontendDraft): WeirError {
  const what = `${loser.kind} ${loser.key} belongs to ${winner.kind} of ${winner.service}`;
  return new WeirError('FRONTEND_TAKEN', what, { object: `Service ${loser.service}` });
}

function serviceOf(slice: LbSlice | undefined): string | undefined {
  return slice?.service === undefined ? undefined : `${slice.namespace}/${slice.service}`;
}

function put<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

function getOr<T>(map: Map<string, T>, key: string, make: () => T): T {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}
