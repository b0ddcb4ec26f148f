/** A connection to etcd: requests, transactions, leases and watches, of keys and values that are text. */
import { isDeepStrictEqual } from 'node:util';
import {
  ChannelCredentials,
  Client,
  Metadata,
  status as Code,
  type ClientDuplexStream,
  type ServiceError,
} from '@grpc/grpc-js';
import type { Clock } from '../../model/clock.ts';
import { errorText, WeirError } from '../../model/errors.ts';
import type { EtcdConfig } from './config.ts';
import { connectionFault } from './faults.ts';
import { method, type WireHeader, type WireLease, type WireRange, type WireTxn, type WireWatch } from './messages.ts';
import { requestOf, wireCompare, keyValueOf, prefixEnd, type Compare, type KeyValue, type Operation } from './txn.ts';

/** A request that was made, for whoever counts them. */
export interface EtcdOperation {
  readonly action: 'read' | 'set' | 'delete';
  /** Such as `range` or `txn`. */
  readonly kind: string;
  readonly key: string;
  readonly milliseconds: number;
  readonly failed: boolean;
}

export interface EtcdClientOptions {
  readonly config: EtcdConfig;
  /** Reads the configuration, and the certificates that it names, as they are now: they are renewed on disk. May throw. */
  readonly reload?: () => EtcdConfig;
  readonly clock: Clock;
  /** How long a request may take. */
  readonly timeoutMs?: number;
  readonly onOperation?: (operation: EtcdOperation) => void;
}

/** Where in its history a store is, and whose history it is. */
export interface Position {
  readonly clusterId: string;
  readonly revision: number;
}

export interface Listing {
  readonly position: Position;
  readonly entries: readonly KeyValue[];
}

export interface TxnOutcome {
  readonly succeeded: boolean;
  /** Of each `get`, in order. */
  readonly found: readonly (KeyValue | undefined)[];
}

/** A watch of a prefix. Ends by itself when {@link WatchListener.onEnd} is called. */
export interface WatchListener {
  /** The store answers, and stands there; events follow. */
  onCreated(position: Position): void;
  onEvents(events: readonly WatchEvent[]): void;
  /** Nothing has happened up to there. */
  onProgress(revision: number): void;
  /** @param compacted what was asked for is not kept any more */
  onEnd(error: unknown, compacted: boolean): void;
}

export type WatchEvent =
  | { readonly type: 'put'; readonly entry: KeyValue }
  | { readonly type: 'delete'; readonly key: string; readonly revision: number };

const TIMEOUT_MS = 5_000;
const PAGE = 1_000;

/** A network that swallows packets does not end connections: a silent server is asked, and given up if it is gone. */
const CHANNEL = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.max_receive_message_length': -1,
} as const;

export class EtcdClient implements Disposable {
  readonly #options: EtcdClientOptions;
  #config: EtcdConfig;
  #channel: Client | undefined;
  #endpoint = 0;
  #token: string | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** The server that is spoken to. */
  get endpoint(): string {
    const { endpoints } = this.#config;
    return endpoints[this.#endpoint % endpoints.length]!;
  }

  [Symbol.dispose](): void {
    this.#hangUp();
  }

  /** @throws WeirError KVSTORE_UNREACHABLE, KVSTORE_REFUSED, as all of these. */
  async get(key: string): Promise<KeyValue | undefined> {
    const { kvs } = await this.#count('read', 'range', key, () =>
      this.#call<WireRange>('KV', 'Range', { key: Buffer.from(key) }),
    );
    return kvs[0] && keyValueOf(kvs[0]);
  }

  /** All keys that begin with the prefix, as they stood at one moment. */
  async list(prefix: string): Promise<Listing> {
    const range_end = prefixEnd(prefix);
    const entries: KeyValue[] = [];
    let position: Position | undefined;
    let key = Buffer.from(prefix);
    for (;;) {
      const revision = position?.revision ?? 0;
      const page = await this.#count('read', 'list', prefix, () =>
        this.#call<WireRange>('KV', 'Range', { key, range_end, limit: PAGE, revision }),
      );
      position ??= positionOf(page.header);
      for (const item of page.kvs) entries.push(keyValueOf(item));
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { position, entries };
      key = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  /** @param lease the key ends with it; absent: it stays */
  async put(key: string, value: string, lease?: string): Promise<void> {
    const request = { key: Buffer.from(key), value: Buffer.from(value), lease: lease ?? '0' };
    await this.#count('set', 'put', key, () => this.#call('KV', 'Put', request));
  }

  async delete(key: string): Promise<void> {
    await this.#count('delete', 'delete', key, () => this.#call('KV', 'DeleteRange', { key: Buffer.from(key) }));
  }

  /** Does `then` if every comparison holds, else `otherwise`, in one step. */
  async txn(
    compare: readonly Compare[],
    then: readonly Operation[],
    otherwise: readonly Operation[] = [],
  ): Promise<TxnOutcome> {
    const request = {
      compare: compare.map(wireCompare),
      success: then.map(requestOf),
      failure: otherwise.map(requestOf),
    };
    const scope = compare[0]?.key ?? then[0]?.key ?? '';
    const answer = await this.#count('set', 'txn', scope, () => this.#call<WireTxn>('KV', 'Txn', request));
    const found = answer.responses.flatMap(({ response_range }) =>
      response_range === null ? [] : [response_range.kvs[0] && keyValueOf(response_range.kvs[0])],
    );
    return { succeeded: answer.succeeded, found };
  }

  /** @returns the lease's number */
  async grantLease(ttlSeconds: number): Promise<string> {
    return (await this.#call<WireLease>('Lease', 'LeaseGrant', { TTL: ttlSeconds })).ID;
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#call('Lease', 'LeaseRevoke', { ID: lease });
  }

  /** Keys that end with the lease; none when it has ended. */
  async leasedKeys(lease: string): Promise<readonly string[]> {
    const { keys = [] } = await this.#call<WireLease>('Lease', 'LeaseTimeToLive', { ID: lease, keys: true });
    return keys.map((key) => key.toString());
  }

  /** Renews a lease. @returns false when it has ended */
  async renewLease(lease: string): Promise<boolean> {
    const metadata = await this.#metadata();
    return await new Promise((resolve, reject) => {
      const { timeoutMs = TIMEOUT_MS } = this.#options;
      const call = this.#stream<WireLease>('Lease', 'LeaseKeepAlive', metadata, Date.now() + timeoutMs);
      call.once('data', ({ TTL }: WireLease) => {
        resolve(TTL !== '0');
        call.cancel();
      });
      call.on('error', (error: ServiceError) => reject(this.#fault(error)));
      call.write({ ID: lease });
    });
  }

  /** Forgets history before a revision: whoever watches from there has to list anew. */
  async compact(revision: number): Promise<void> {
    await this.#call('KV', 'Compact', { revision, physical: true });
  }

  /**
   * Follows the keys that begin with a prefix.
   *
   * @param from the first revision to hear of
   * @returns ends the watch; nothing is called after that
   */
  watch(prefix: string, from: number, listener: WatchListener): () => void {
    let ended = false;
    let call: ClientDuplexStream<object, WireWatch> | undefined;
    const end = (error: unknown, compacted: boolean): void => {
      if (ended) return;
      ended = true;
      call?.cancel();
      listener.onEnd(error, compacted);
    };
    this.#metadata()
      .then((metadata) => {
        if (ended) return;
        // A member that has lost its cluster would go on in silence.
        metadata.set('hasleader', 'true');
        call = this.#stream<WireWatch>('Watch', 'Watch', metadata);
        call.on('data', (answer: WireWatch) => {
          if (!ended) take(answer, listener, end);
        });
        call.on('error', (error: ServiceError) => {
          if (!ended) end(this.#fault(error), false);
        });
        call.on('end', () => end(new WeirError('KVSTORE_UNREACHABLE', 'the watch ended', this.#object()), false));
        const range = { key: Buffer.from(prefix), range_end: prefixEnd(prefix) };
        call.write({ create_request: { ...range, start_revision: from, progress_notify: true } });
      })
      .catch((error: unknown) => end(error, false));
    return () => {
      ended = true;
      call?.cancel();
    };
  }

  #client(): Client {
    // gRPC takes no URL.
    const target = this.endpoint.replace(/^https?:\/\//, '');
    this.#channel ??= new Client(target, credentialsOf(this.#config), CHANNEL);
    return this.#channel;
  }

  async #call<T>(service: 'KV' | 'Lease' | 'Auth', name: string, request: object): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const metadata = service === 'Auth' ? new Metadata() : await this.#metadata();
      try {
        return await this.#unary<T>(service, name, request, metadata);
      } catch (error) {
        const fault = error as ServiceError;
        // Tokens end; the one that was had is none any more.
        if (fault.code !== Code.UNAUTHENTICATED || this.#token === undefined || attempt > 1) throw this.#fault(fault);
        this.#renew();
        this.#token = undefined;
      }
    }
  }

  #unary<T>(service: 'KV' | 'Lease' | 'Auth', name: string, request: object, metadata: Metadata): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = method(service, name);
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    return new Promise((resolve, reject) => {
      this.#client().makeUnaryRequest(
        path,
        requestSerialize,
        (bytes: Buffer) => responseDeserialize(bytes) as T,
        request,
        metadata,
        { deadline: Date.now() + timeoutMs },
        (error, answer) => {
          if (error !== null) reject(error);
          else resolve(answer!);
        },
      );
    });
  }

  #stream<T>(
    service: 'Watch' | 'Lease',
    name: string,
    metadata: Metadata,
    deadline?: number,
  ): ClientDuplexStream<object, T> {
    const { path, requestSerialize, responseDeserialize } = method(service, name);
    const decode = (bytes: Buffer): T => responseDeserialize(bytes) as T;
    return this.#client().makeBidiStreamRequest(path, requestSerialize, decode, metadata, {
      ...(deadline !== undefined && { deadline }),
    });
  }

  /** Says who asks, where the store wants to know. */
  async #metadata(): Promise<Metadata> {
    const { auth } = this.#config;
    const metadata = new Metadata();
    if (auth === undefined) return metadata;
    this.#token ??= (
      await this.#call<{ token: string }>('Auth', 'Authenticate', { name: auth.username, password: auth.password })
    ).token;
    metadata.set('token', this.#token);
    return metadata;
  }

  /** The next request makes a connection of its own. */
  #hangUp(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** Speaks to the store anew, when who it is to trust or what it is to be told has changed. */
  #renew(): void {
    const { reload } = this.#options;
    if (reload === undefined) return;
    try {
      const config = reload();
      if (isDeepStrictEqual(config, this.#config)) return;
      this.#config = config;
    } catch {
      // Half of it has been replaced, or it is away: the fault that led here is told, and the next one looks again.
      return;
    }
    this.#hangUp();
  }

  #object(): { readonly object: string } {
    return { object: `etcd ${this.endpoint}` };
  }

  /** What gRPC said, in the words of the catalogue. The next request goes to the next server when this one is away. */
  #fault(error: ServiceError): WeirError {
    const context = { ...this.#object(), cause: error };
    const said = error.details || errorText(error);
    const away = error.code === Code.UNAVAILABLE || error.code === Code.DEADLINE_EXCEEDED;
    if (!away) return new WeirError('KVSTORE_REFUSED', said, context);
    if (this.#config.endpoints.length > 1) {
      this.#endpoint++;
      this.#hangUp();
    }
    this.#renew();
    const late = error.code === Code.DEADLINE_EXCEEDED;
    const { message, ...remedy } = late ? { message: 'no answer in time' } : connectionFault(said);
    return new WeirError('KVSTORE_UNREACHABLE', message, { ...context, ...remedy });
  }

  async #count<T>(action: EtcdOperation['action'], kind: string, key: string, request: () => Promise<T>): Promise<T> {
    const { clock, onOperation } = this.#options;
    const begun = clock.now();
    let failed = true;
    try {
      const answer = await request();
      failed = false;
      return answer;
    } finally {
      onOperation?.({ action, kind, key, milliseconds: clock.now() - begun, failed });
    }
  }
}

function take(answer: WireWatch, listener: WatchListener, end: (error: unknown, compacted: boolean) => void): void {
  const compacted = answer.compact_revision !== '0';
  if (answer.canceled) {
    const reason = compacted ? `history before ${answer.compact_revision} is compacted` : answer.cancel_reason;
    end(new WeirError('KVSTORE_REFUSED', `the watch was ended: ${reason}`), compacted);
  } else if (answer.created) listener.onCreated(positionOf(answer.header));
  else if (answer.events.length === 0) listener.onProgress(Number(answer.header.revision));
  else {
    listener.onEvents(
      answer.events.map(({ type, kv }) =>
        type === 0
          ? { type: 'put', entry: keyValueOf(kv) }
          : { type: 'delete', key: kv.key.toString(), revision: Number(kv.mod_revision) },
      ),
    );
  }
}

const positionOf = ({ cluster_id, revision }: WireHeader): Position => ({
  clusterId: cluster_id,
  revision: Number(revision),
});

const credentialsOf = ({ tls }: EtcdConfig): ChannelCredentials =>
  tls === undefined
    ? ChannelCredentials.createInsecure()
    : ChannelCredentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null);
