/** etcd's messages on the wire, as far as Weir speaks them: numbers of fields, and their TypeScript side. */
import { fromJSON, type PackageDefinition, type ServiceDefinition } from '@grpc/proto-loader';

/** A description of messages and services, as the loader takes it. */
type Description = Parameters<typeof fromJSON>[0];

const field = (type: string, id: number) => ({ type, id });
const repeated = (type: string, id: number) => ({ rule: 'repeated', type, id });
const message = (fields: Record<string, { readonly type: string; readonly id: number }>) => ({ fields });
// The loader's type wants a comment of each method.
const unary = (requestType: string, responseType: string) => ({ requestType, responseType, comment: '' });
const stream = (requestType: string, responseType: string) => ({
  ...unary(requestType, responseType),
  requestStream: true,
  responseStream: true,
});
const HEADER = { header: field('ResponseHeader', 1) };

const MESSAGES = {
  KeyValue: message({
    key: field('bytes', 1),
    create_revision: field('int64', 2),
    mod_revision: field('int64', 3),
    value: field('bytes', 5),
    lease: field('int64', 6),
  }),
  Event: message({ type: field('int32', 1), kv: field('KeyValue', 2) }),
  ResponseHeader: message({ cluster_id: field('uint64', 1), revision: field('int64', 3) }),
  RangeRequest: message({
    key: field('bytes', 1),
    range_end: field('bytes', 2),
    limit: field('int64', 3),
    revision: field('int64', 4),
  }),
  RangeResponse: message({ ...HEADER, kvs: repeated('KeyValue', 2), more: field('bool', 3) }),
  PutRequest: message({ key: field('bytes', 1), value: field('bytes', 2), lease: field('int64', 3) }),
  PutResponse: message(HEADER),
  DeleteRangeRequest: message({ key: field('bytes', 1), range_end: field('bytes', 2) }),
  DeleteRangeResponse: message({ ...HEADER, deleted: field('int64', 2) }),
  RequestOp: message({
    request_range: field('RangeRequest', 1),
    request_put: field('PutRequest', 2),
    request_delete_range: field('DeleteRangeRequest', 3),
  }),
  ResponseOp: message({ response_range: field('RangeResponse', 1) }),
  Compare: {
    oneofs: { target_union: { oneof: ['create_revision', 'mod_revision', 'value'] } },
    fields: {
      result: field('int32', 1),
      target: field('int32', 2),
      key: field('bytes', 3),
      create_revision: field('int64', 5),
      mod_revision: field('int64', 6),
      value: field('bytes', 7),
      range_end: field('bytes', 64),
    },
  },
  TxnRequest: message({
    compare: repeated('Compare', 1),
    success: repeated('RequestOp', 2),
    failure: repeated('RequestOp', 3),
  }),
  TxnResponse: message({ ...HEADER, succeeded: field('bool', 2), responses: repeated('ResponseOp', 3) }),
  CompactionRequest: message({ revision: field('int64', 1), physical: field('bool', 2) }),
  CompactionResponse: message(HEADER),
  WatchRequest: message({ create_request: field('WatchCreateRequest', 1) }),
  WatchCreateRequest: message({
    key: field('bytes', 1),
    range_end: field('bytes', 2),
    start_revision: field('int64', 3),
    progress_notify: field('bool', 4),
  }),
  WatchResponse: message({
    ...HEADER,
    created: field('bool', 3),
    canceled: field('bool', 4),
    compact_revision: field('int64', 5),
    cancel_reason: field('string', 6),
    events: repeated('Event', 11),
  }),
  LeaseGrantRequest: message({ TTL: field('int64', 1) }),
  LeaseGrantResponse: message({ ...HEADER, ID: field('int64', 2), TTL: field('int64', 3) }),
  LeaseRevokeRequest: message({ ID: field('int64', 1) }),
  LeaseRevokeResponse: message(HEADER),
  LeaseKeepAliveRequest: message({ ID: field('int64', 1) }),
  LeaseKeepAliveResponse: message({ ...HEADER, ID: field('int64', 2), TTL: field('int64', 3) }),
  LeaseTimeToLiveRequest: message({ ID: field('int64', 1), keys: field('bool', 2) }),
  LeaseTimeToLiveResponse: message({ ...HEADER, TTL: field('int64', 3), keys: repeated('bytes', 5) }),
  AuthenticateRequest: message({ name: field('string', 1), password: field('string', 2) }),
  AuthenticateResponse: message({ ...HEADER, token: field('string', 2) }),
};

const SERVICES = {
  KV: {
    methods: {
      Range: unary('RangeRequest', 'RangeResponse'),
      Put: unary('PutRequest', 'PutResponse'),
      DeleteRange: unary('DeleteRangeRequest', 'DeleteRangeResponse'),
      Txn: unary('TxnRequest', 'TxnResponse'),
      Compact: unary('CompactionRequest', 'CompactionResponse'),
    },
  },
  Watch: { methods: { Watch: stream('WatchRequest', 'WatchResponse') } },
  Lease: {
    methods: {
      LeaseGrant: unary('LeaseGrantRequest', 'LeaseGrantResponse'),
      LeaseRevoke: unary('LeaseRevokeRequest', 'LeaseRevokeResponse'),
      LeaseKeepAlive: stream('LeaseKeepAliveRequest', 'LeaseKeepAliveResponse'),
      LeaseTimeToLive: unary('LeaseTimeToLiveRequest', 'LeaseTimeToLiveResponse'),
    },
  },
  Auth: { methods: { Authenticate: unary('AuthenticateRequest', 'AuthenticateResponse') } },
};

const DESCRIPTION: Description = { nested: { etcdserverpb: { nested: { ...MESSAGES, ...SERVICES } } } };

/** Numbers of 64 bits come as text: a lease's does not fit JavaScript's. */
const PACKAGE: PackageDefinition = fromJSON(DESCRIPTION, { keepCase: true, longs: String, defaults: true });

/** A method of a service, with its codecs. */
export function method(service: keyof typeof SERVICES, name: string): ServiceDefinition[string] {
  const found = (PACKAGE[`etcdserverpb.${service}`] as ServiceDefinition)[name];
  if (found === undefined) throw new Error(`etcd has no method ${service}.${name}`);
  return found;
}

/** A key with its value, as it comes. */
export interface WireKeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly create_revision: string;
  readonly mod_revision: string;
  readonly lease: string;
}

export interface WireHeader {
  readonly cluster_id: string;
  readonly revision: string;
}

export interface WireRange {
  readonly header: WireHeader;
  readonly kvs: readonly WireKeyValue[];
  readonly more: boolean;
}

export interface WireTxn {
  readonly header: WireHeader;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly response_range: WireRange | null }[];
}

export interface WireWatch {
  readonly header: WireHeader;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: string;
  readonly cancel_reason: string;
  readonly events: readonly { readonly type: number; readonly kv: WireKeyValue }[];
}

export interface WireLease {
  readonly ID: string;
  readonly TTL: string;
  readonly keys?: readonly Buffer[];
}
