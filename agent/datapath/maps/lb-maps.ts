import { socketKey, type Backend, type Frontend, type KnownIds, type LbChanges } from '../../model/service.ts';
import type { BackendId, LbTarget, Socket } from '../../model/service.ts';
import { decode, encode, lbFlowKey, u32 } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { ConntrackMap } from './conntrack.ts';
import { LbDetails, type LbDetailHandles } from './lb-details.ts';
import {
  decodeFrontend,
  decodeServiceKey,
  decodeSocket,
  encodeBackend,
  encodeFrontend,
  encodeServiceKey,
  encodeSlot,
  encodeSocket,
  hasTwoScopes,
  type LbScope,
} from './lb.ts';

export interface LbMapHandles extends LbDetailHandles {
  readonly services: MapHandle;
  readonly backends: MapHandle;
  readonly revnat: MapHandle;
  readonly flows: MapHandle;
  readonly conntrack: readonly Pick<ConntrackMap, 'deleteRemote'>[];
}

/**
 * The services' maps. Written so that a packet that comes in between finds either the old or the new, and no slot that leads
 * nowhere: backends, the way back, details, slots, slot 0; and the other way round to take away.
 */
export class LbMaps implements LbTarget {
  readonly #maps: LbMapHandles;
  readonly #details: LbDetails;

  constructor(maps: LbMapHandles) {
    this.#maps = maps;
    this.#details = new LbDetails(maps);
  }

  async known(): Promise<KnownIds> {
    const [frontends, backends]: [string, number][][] = [[], []];
    for await (const { key, value } of this.#maps.services.entries()) {
      const { socket, slot, scope } = decodeServiceKey(key);
      if (slot === 0 && scope === 'internal') frontends!.push([socketKey(socket), decodeFrontend(value).id]);
    }
    for await (const { key, value } of this.#maps.backends.entries()) {
      backends!.push([socketKey(decodeSocket(value).socket), decode(u32, key)]);
    }
    let newestBackend = 0;
    for await (const { value } of this.#maps.flows.entries())
      newestBackend = Math.max(newestBackend, decode(u32, value));
    return { frontends: frontends!, backends: backends!, newestBackend };
  }

  async apply({ backends, frontends, table }: LbChanges): Promise<void> {
    for (const backend of backends.update) this.#maps.backends.update(encode(u32, backend.id), encodeBackend(backend));
    const fresh: Frontend[] = [];
    for (const frontend of frontends.update) {
      if (await this.#write(frontend, table?.(frontend))) fresh.push(frontend);
    }
    for (const frontend of frontends.delete) await this.#remove(frontend, frontend.id);
    for (const backend of backends.delete) this.#maps.backends.delete(encode(u32, backend.id));
    await this.#forgetFlows(new Set(frontends.delete.map(({ id }) => id)));
    await this.#forgetConnections(fresh);
  }

  async prune(frontends: readonly Frontend[], backends: readonly Backend[]): Promise<void> {
    const wanted = new Map(frontends.map((frontend) => [socketKey(frontend), frontend]));
    const gone: [Socket, number][] = [];
    const loose: Uint8Array[] = [];
    for await (const { key, value } of this.#maps.services.entries()) {
      const { socket, slot, scope } = decodeServiceKey(key);
      const frontend = wanted.get(socketKey(socket));
      if (frontend === undefined && slot === 0 && scope === 'internal') gone.push([socket, decodeFrontend(value).id]);
      else if (slot > lastSlot(frontend, scope)) loose.push(key);
    }
    for (const [socket, id] of gone) await this.#remove(socket, id);
    for (const key of loose) this.#maps.services.delete(key);
    await this.#details.prune(frontends);
    const kept = new Set<number>(backends.map(({ id }) => id));
    const dead: Uint8Array[] = [];
    for await (const { key } of this.#maps.backends.entries()) if (!kept.has(decode(u32, key))) dead.push(key);
    for (const key of dead) this.#maps.backends.delete(key);
    await this.#forgetFlows(new Set(gone.map(([, id]) => id)));
  }

  /** @returns whether the frontend was not there before */
  async #write(frontend: Frontend, table: Uint32Array | undefined): Promise<boolean> {
    const { services, revnat } = this.#maps;
    const fresh = services.lookup(encodeServiceKey(frontend, 0)) === undefined;
    revnat.update(encode(u32, frontend.id), encodeSocket(frontend, 'active'));
    await this.#details.open(frontend, table);
    // Whoever finds two scopes promised in the internal slot 0 looks for the external one.
    if (hasTwoScopes(frontend)) {
      this.#writeSlots(frontend, 'external', frontend.externalBackends, table !== undefined);
    }
    this.#writeSlots(frontend, 'internal', frontend.backends, table !== undefined);
    if (!hasTwoScopes(frontend)) this.#removeSlots(frontend, 'external');
    await this.#details.close(frontend, table);
    return fresh;
  }

  #writeSlots(frontend: Frontend, scope: LbScope, backends: readonly BackendId[], maglev: boolean): void {
    const { services } = this.#maps;
    const head = encodeServiceKey(frontend, 0, scope);
    const before = services.lookup(head);
    for (const [i, backend] of backends.entries()) {
      services.update(encodeServiceKey(frontend, i + 1, scope), encodeSlot(backend));
    }
    services.update(head, encodeFrontend(frontend, scope, maglev));
    this.#clearSlots(frontend, scope, backends.length, before === undefined ? 0 : decodeFrontend(before).count);
  }

  async #remove(socket: Socket, id: number): Promise<void> {
    this.#removeSlots(socket, 'internal');
    this.#removeSlots(socket, 'external');
    this.#maps.revnat.update(encode(u32, id), new Uint8Array(this.#maps.revnat.valueSize));
    await this.#details.remove(id);
  }

  #removeSlots(socket: Socket, scope: LbScope): void {
    const head = encodeServiceKey(socket, 0, scope);
    const before = this.#maps.services.lookup(head);
    if (before === undefined) return;
    this.#maps.services.delete(head);
    this.#clearSlots(socket, scope, 0, decodeFrontend(before).count);
  }

  #clearSlots(socket: Socket, scope: LbScope, after: number, last: number): void {
    for (let slot = after + 1; slot <= last; slot++) this.#maps.services.delete(encodeServiceKey(socket, slot, scope));
  }

  /** What a number stood for is not what it will stand for. */
  async #forgetFlows(services: ReadonlySet<number>): Promise<void> {
    if (services.size === 0) return;
    const dead: Uint8Array[] = [];
    for await (const { key } of this.#maps.flows.entries()) {
      if (services.has(decode(lbFlowKey, key).service)) dead.push(Buffer.from(key));
    }
    if (dead.length > 0) await this.#maps.flows.deleteBatch(Buffer.concat(dead));
  }

  /** Whoever tried the address before the service was there has a connection that leads nowhere, and would keep it. */
  async #forgetConnections(fresh: readonly Frontend[]): Promise<void> {
    if (fresh.length === 0) return;
    const sockets = new Set(fresh.map(socketKey));
    for (const conntrack of this.#maps.conntrack) await conntrack.deleteRemote(sockets);
  }
}

/** The highest slot that a frontend has in a scope; -1 when it is not there at all. */
function lastSlot(frontend: Frontend | undefined, scope: LbScope): number {
  if (frontend === undefined) return scope === 'internal' ? 0 : -1;
  if (scope === 'internal') return frontend.backends.length;
  return hasTwoScopes(frontend) ? frontend.externalBackends.length : -1;
}
