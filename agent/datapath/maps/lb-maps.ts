import { socketKey, type Backend, type Frontend, type KnownIds, type LbChanges } from '../../model/service.ts';
import type { LbTarget, Socket } from '../../model/service.ts';
import { decode, encode, lbFlowKey, u32 } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { ConntrackMap } from './conntrack.ts';
import {
  decodeFrontend,
  decodeServiceKey,
  decodeSocket,
  encodeBackend,
  encodeFrontend,
  encodeServiceKey,
  encodeSlot,
  encodeSocket,
} from './lb.ts';

export interface LbMapHandles {
  readonly services: MapHandle;
  readonly backends: MapHandle;
  readonly revnat: MapHandle;
  readonly flows: MapHandle;
  readonly conntrack: readonly Pick<ConntrackMap, 'deleteRemote'>[];
}

/**
 * The services' maps. Written so that a packet that comes in between finds either the old or the new, and no slot that leads
 * nowhere: backends, the way back, slots, slot 0; and the other way round to take away.
 */
export class LbMaps implements LbTarget {
  readonly #maps: LbMapHandles;

  constructor(maps: LbMapHandles) {
    this.#maps = maps;
  }

  async known(): Promise<KnownIds> {
    const [frontends, backends]: [string, number][][] = [[], []];
    for await (const { key, value } of this.#maps.services.entries()) {
      const { socket, slot } = decodeServiceKey(key);
      if (slot === 0) frontends!.push([socketKey(socket), decodeFrontend(value).id]);
    }
    for await (const { key, value } of this.#maps.backends.entries()) {
      backends!.push([socketKey(decodeSocket(value).socket), decode(u32, key)]);
    }
    return { frontends: frontends!, backends: backends! };
  }

  async apply({ backends, frontends }: LbChanges): Promise<void> {
    for (const backend of backends.update) this.#maps.backends.update(encode(u32, backend.id), encodeBackend(backend));
    const fresh = frontends.update.filter((frontend) => this.#write(frontend));
    for (const frontend of frontends.delete) this.#remove(frontend, frontend.id);
    for (const backend of backends.delete) this.#maps.backends.delete(encode(u32, backend.id));
    await this.#forgetFlows(new Set(frontends.delete.map(({ id }) => id)));
    await this.#forgetConnections(fresh);
  }

  async prune(frontends: readonly Frontend[], backends: readonly Backend[]): Promise<void> {
    const wanted = new Map(frontends.map((frontend) => [socketKey(frontend), frontend]));
    const gone: [Socket, number][] = [];
    const loose: Uint8Array[] = [];
    for await (const { key, value } of this.#maps.services.entries()) {
      const { socket, slot } = decodeServiceKey(key);
      const frontend = wanted.get(socketKey(socket));
      if (slot === 0 && frontend === undefined) gone.push([socket, decodeFrontend(value).id]);
      else if (slot > (frontend?.backends.length ?? 0)) loose.push(key);
    }
    for (const [socket, id] of gone) this.#remove(socket, id);
    for (const key of loose) this.#maps.services.delete(key);
    const kept = new Set<number>(backends.map(({ id }) => id));
    const dead: Uint8Array[] = [];
    for await (const { key } of this.#maps.backends.entries()) if (!kept.has(decode(u32, key))) dead.push(key);
    for (const key of dead) this.#maps.backends.delete(key);
    await this.#forgetFlows(new Set(gone.map(([, id]) => id)));
  }

  /** @returns whether the frontend was not there before */
  #write(frontend: Frontend): boolean {
    const { services, revnat } = this.#maps;
    const head = encodeServiceKey(frontend, 0);
    const before = services.lookup(head);
    revnat.update(encode(u32, frontend.id), encodeSocket(frontend, 'active'));
    for (const [i, backend] of frontend.backends.entries()) {
      services.update(encodeServiceKey(frontend, i + 1), encodeSlot(backend));
    }
    services.update(head, encodeFrontend(frontend));
    this.#clearSlots(frontend, frontend.backends.length, before === undefined ? 0 : decodeFrontend(before).count);
    return before === undefined;
  }

  #remove(socket: Socket, id: number): void {
    const { services, revnat } = this.#maps;
    const head = encodeServiceKey(socket, 0);
    const before = services.lookup(head);
    services.delete(head);
    this.#clearSlots(socket, 0, before === undefined ? 0 : decodeFrontend(before).count);
    revnat.update(encode(u32, id), new Uint8Array(revnat.valueSize));
  }

  #clearSlots(socket: Socket, after: number, last: number): void {
    for (let slot = after + 1; slot <= last; slot++) this.#maps.services.delete(encodeServiceKey(socket, slot));
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
