import { setImmediate } from 'node:timers/promises';
import { formatAddress, parseAddress, type Address } from '../../model/address.ts';
import type { Direction } from '../../model/mapstate.ts';
import { port, protocolName } from '../../model/port.ts';
import { socketKey } from '../../model/service.ts';
import {
  CT_ALLOWED,
  CT_AUDITED,
  CT_FIN_FORWARD,
  CT_FIN_REPLY,
  CT_RESET,
  CT_SEEN_NON_SYN,
  CT_SEEN_REPLY,
  CT_SOURCE_IS_LOCAL,
  CT_VERDICT_MASK,
  DIRECTION_EGRESS,
  IDENTITY_HOST,
  IDENTITY_KUBE_APISERVER,
  IDENTITY_REMOTE_NODE,
} from '../../../bpf/gen/constants.ts';
import { ct4Key, ct6Key, ctEntry, ctEntryOffset, decode } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { addressFromField, socketText, type DescribeEntry } from './dump.ts';

/** One connection, from the view of the endpoint that it belongs to. */
export interface Connection {
  readonly local: Address;
  readonly remote: Address;
  readonly localPort: number;
  readonly remotePort: number;
  readonly protocol: number;
  /** Who opened it: ingress when the remote side did. */
  readonly direction: Direction;
  /** Nanoseconds of CLOCK_MONOTONIC. */
  readonly expires: bigint;
  readonly verdict: 'allowed' | 'denied' | 'audited';
  /** The way that the opener's packets take, and the way back. */
  readonly forward: { readonly packets: bigint; readonly bytes: bigint };
  readonly reply: { readonly packets: bigint; readonly bytes: bigint };
  readonly peerIdentity: number;
  readonly cookie: number;
  readonly proxyPort: number;
  readonly flags: number;
}

const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [CT_SEEN_REPLY, 'SeenReply'],
  [CT_FIN_FORWARD, 'TxClosing'],
  [CT_FIN_REPLY, 'RxClosing'],
  [CT_RESET, 'Reset'],
  [CT_SEEN_NON_SYN, 'SeenNonSyn'],
  [CT_SOURCE_IS_LOCAL, 'FromHostSocket'],
];

/** Who may be at the address of a node. */
const NODES: ReadonlySet<number> = new Set([IDENTITY_HOST, IDENTITY_REMOTE_NODE, IDENTITY_KUBE_APISERVER]);

const VERDICTS = new Map<number, Connection['verdict']>([
  [CT_ALLOWED, 'allowed'],
  [CT_AUDITED, 'audited'],
]);

export function decodeConnection(family: 4 | 6, keyBytes: Uint8Array, valueBytes: Uint8Array): Connection {
  const key = family === 4 ? decode(ct4Key, keyBytes) : decode(ct6Key, keyBytes);
  const value = decode(ctEntry, valueBytes);
  return {
    local: localAddress(family, keyBytes),
    remote: remoteAddress(family, keyBytes),
    localPort: key.localPort,
    remotePort: key.remotePort,
    protocol: key.protocol,
    direction: value.direction === DIRECTION_EGRESS ? 'egress' : 'ingress',
    expires: value.expires,
    verdict: VERDICTS.get(Number(value.judged & BigInt(CT_VERDICT_MASK))) ?? 'denied',
    forward: { packets: value.packets[0], bytes: value.bytes[0] },
    reply: { packets: value.packets[1], bytes: value.bytes[1] },
    peerIdentity: value.peerIdentity,
    cookie: value.cookie,
    proxyPort: value.proxyPort,
    flags: value.flags,
  };
}

function isOfNode(value: Uint8Array): boolean {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return NODES.has(view.getUint32(ctEntryOffset.peerIdentity, true));
}

/** Both keys begin with the local address, followed by the remote one, in network order. */
function localAddress(family: 4 | 6, key: Uint8Array): Address {
  return addressFromField(key, family);
}

function remoteAddress(family: 4 | 6, key: Uint8Array): Address {
  return addressFromField(key.subarray(family === 4 ? 4 : 16), family);
}

/** @param monotonic nanoseconds of CLOCK_MONOTONIC now */
export function describeConnection(family: 4 | 6, monotonic: () => bigint): DescribeEntry {
  return (keyBytes, valueBytes) => {
    const ct = decodeConnection(family, keyBytes, valueBytes);
    const seconds = Number((ct.expires - monotonic()) / 1_000_000_000n);
    const flags = FLAG_NAMES.filter(([bit]) => (ct.flags & bit) !== 0)
      .map(([, name]) => name)
      .join(' ');
    const inbound = ct.direction === 'ingress';
    const [local, remote] = [socketText(ct.local, ct.localPort), socketText(ct.remote, ct.remotePort)];
    const ends = inbound ? `${remote} -> ${local}` : `${local} -> ${remote}`;
    return {
      key: `${protocolName(ct.protocol)} ${inbound ? 'IN' : 'OUT'} ${ends}`,
      value: `expires=${seconds}s ${ct.verdict} flags=[${flags}] peer=${ct.peerIdentity} packets=${ct.forward.packets}/${ct.reply.packets} bytes=${ct.forward.bytes}/${ct.reply.bytes}`,
      fields: {
        direction: ct.direction,
        protocol: ct.protocol,
        local: formatAddress(ct.local),
        'local-port': ct.localPort,
        remote: formatAddress(ct.remote),
        'remote-port': ct.remotePort,
        'expires-in': seconds,
        'forward-packets': Number(ct.forward.packets),
        'forward-bytes': Number(ct.forward.bytes),
        'reply-packets': Number(ct.reply.packets),
        'reply-bytes': Number(ct.reply.bytes),
        'peer-identity': ct.peerIdentity,
        cookie: ct.cookie,
        'proxy-port': ct.proxyPort,
        flags,
      },
    };
  };
}

/** What a collection did. */
export interface Collection {
  /** Connections that live on. */
  readonly alive: number;
  readonly deleted: number;
}

type Entry = (key: Uint8Array, value: Uint8Array) => boolean;

/** `weir_ct4` or `weir_ct6`. Scans run in batches and let other work through in between. */
export class ConntrackMap {
  readonly family: 4 | 6;
  readonly #map: MapHandle;

  constructor(family: 4 | 6, map: MapHandle) {
    this.family = family;
    this.#map = map;
  }

  async *connections(): AsyncGenerator<Connection> {
    for await (const { key, value } of this.#map.entries()) yield decodeConnection(this.family, key, value);
  }

  /**
   * Deletes what has expired. A packet that comes between the scan of an entry and its deletion only costs the
   * connection its memory of the verdict: it is judged again.
   *
   * @param now nanoseconds of CLOCK_MONOTONIC
   * @param seen hears of each connection that lives on
   */
  async collect(now: bigint, seen?: (connection: Connection) => void): Promise<Collection> {
    return await this.#deleteWhere((key, value) => {
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
      if (view.getBigUint64(ctEntryOffset.expires, true) <= now) return true;
      seen?.(decodeConnection(this.family, key, value));
      return false;
    });
  }

  /** Deletes the connections of local addresses. */
  async deleteLocal(addresses: readonly Address[]): Promise<Collection> {
    const size = this.family === 4 ? 4 : 16;
    const own = addresses.filter(({ family }) => family === this.family).map(({ bytes }) => Buffer.from(bytes));
    if (own.length === 0) return { alive: 0, deleted: 0 };
    return await this.#deleteWhere((key) => own.some((bytes) => bytes.equals(key.subarray(0, size))));
  }

  /**
   * Deletes the connections with remote ends, such as `10.96.0.1:80/TCP` of {@link socketKey}. The unspecified address stands
   * for those of all nodes.
   */
  async deleteRemote(sockets: ReadonlySet<string>): Promise<Collection> {
    const anyNode = parseAddress(this.family === 4 ? '0.0.0.0' : '::');
    return await this.#deleteWhere((bytes, value) => {
      const { remotePort, protocol } = this.family === 4 ? decode(ct4Key, bytes) : decode(ct6Key, bytes);
      const isAmong = (address: Address): boolean =>
        sockets.has(socketKey({ address, port: port(remotePort), protocol }));
      return isAmong(remoteAddress(this.family, bytes)) || (isOfNode(value) && isAmong(anyNode));
    });
  }

  /** Forgets every connection. Those that live are judged again with their next packet. */
  async flush(): Promise<number> {
    return (await this.#deleteWhere(() => true)).deleted;
  }

  async #deleteWhere(dies: Entry): Promise<Collection> {
    let [alive, deleted] = [0, 0];
    let dead: Uint8Array[] = [];
    const bury = async () => {
      deleted += await this.#map.deleteBatch(Buffer.concat(dead));
      dead = [];
      await setImmediate();
    };
    for await (const { key, value } of this.#map.entries()) {
      if (!dies(key, value)) alive++;
      else if (dead.push(Buffer.from(key)) >= BURY_AT) await bury();
    }
    if (dead.length > 0) await bury();
    return { alive, deleted };
  }
}

/** How many entries to delete at a time: about 2 ms. */
const BURY_AT = 2048;
