/** The only translator between map states, in host order and domain terms, and the bytes of `weir_policy_<id>`. */
import { identityId } from '../../model/identity.ts';
import type { PolicyEntry, PolicyKey } from '../../model/mapstate.ts';
import { protocolName } from '../../model/port.ts';
import {
  POLICY_AUDITED,
  POLICY_AUTH_EXPLICIT,
  POLICY_DENY,
  POLICY_PREFIX_SHIFT,
  POLICY_PROTOCOL_BITS,
  POLICY_STATIC_BITS,
  DIRECTION_EGRESS,
  DIRECTION_INGRESS,
} from '../../../bpf/gen/constants.ts';
import {
  decode,
  encode,
  policyEntry,
  policyEntryOffset,
  policyKey,
  policyKeyOffset,
} from '../../../bpf/gen/structs.ts';
import type { DescribeEntry } from './dump.ts';
import { bytesEqual, type PolicyValues } from './policy-plan.ts';

/** Bits of the key past the static ones: none, the protocol, or the protocol and a part of the port (S6). */
function prefixBits(key: PolicyKey): number {
  return key.protocol === 0 ? 0 : POLICY_PROTOCOL_BITS + key.portPrefix;
}

export function encodePolicyKey(key: PolicyKey): Uint8Array {
  return encode(policyKey, {
    prefixlen: POLICY_STATIC_BITS + prefixBits(key),
    identity: key.identity,
    egress: key.direction === 'egress' ? DIRECTION_EGRESS : DIRECTION_INGRESS,
    protocol: key.protocol,
    port: key.port,
  });
}

export function decodePolicyKey(bytes: Uint8Array): PolicyKey {
  const key = decode(policyKey, bytes);
  return {
    direction: key.egress === DIRECTION_EGRESS ? 'egress' : 'ingress',
    identity: identityId(key.identity),
    protocol: key.protocol,
    port: key.port,
    portPrefix: Math.max(0, key.prefixlen - POLICY_STATIC_BITS - POLICY_PROTOCOL_BITS),
  };
}

/** The value repeats the prefix of its key: a trie does not tell the kernel which prefix it found. */
export function encodePolicyEntry(key: PolicyKey, entry: PolicyEntry): Uint8Array {
  const flags =
    (entry.deny ? POLICY_DENY : 0) |
    (entry.authExplicit ? POLICY_AUTH_EXPLICIT : 0) |
    (entry.audited === true ? POLICY_AUDITED : 0);
  return encode(policyEntry, {
    proxyPort: entry.proxyPort,
    flags: flags | (prefixBits(key) << POLICY_PREFIX_SHIFT),
    authType: entry.authType,
    precedence: entry.precedence,
    cookie: entry.cookie,
  });
}

/** Whether `value` was written for `key`, not for a shorter prefix that also covers it. */
export function isEntryOf(key: Uint8Array, value: Uint8Array): boolean {
  const prefixlen = new DataView(key.buffer, key.byteOffset).getUint32(policyKeyOffset.prefixlen, true);
  return value[policyEntryOffset.flags]! >> POLICY_PREFIX_SHIFT === prefixlen - POLICY_STATIC_BITS;
}

export function decodePolicyEntry(bytes: Uint8Array): PolicyEntry {
  const { proxyPort, flags, authType, precedence, cookie } = decode(policyEntry, bytes);
  return {
    deny: (flags & POLICY_DENY) !== 0,
    proxyPort,
    authType,
    authExplicit: (flags & POLICY_AUTH_EXPLICIT) !== 0,
    precedence,
    cookie,
    ...((flags & POLICY_AUDITED) !== 0 && { audited: true }),
  };
}

/** A map state as the kernel takes it in batches: keys and values end to end. */
export interface EncodedPolicy {
  readonly count: number;
  readonly keys: Buffer;
  readonly values: Buffer;
}

/** Encodes a whole map state in one turn of the event loop: about 5 ms for 16k entries. */
export function encodePolicy(policy: Iterable<readonly [PolicyKey, PolicyEntry]>): EncodedPolicy {
  const entries = [...policy];
  const keys = Buffer.alloc(entries.length * policyKey.size);
  const values = Buffer.alloc(entries.length * policyEntry.size);
  for (const [i, [key, entry]] of entries.entries()) {
    keys.set(encodePolicyKey(key), i * policyKey.size);
    values.set(encodePolicyEntry(key, entry), i * policyEntry.size);
  }
  return { count: entries.length, keys, values };
}

const GUARD: PolicyEntry = {
  deny: true,
  proxyPort: 0,
  authType: 0,
  authExplicit: false,
  precedence: 0xffff_ffff,
  cookie: 0,
};

/** What the planner of updates must know of the bytes. It asks for each of up to 16k entries: no decoding here. */
export const policyValues: PolicyValues = {
  guard: (key) => encodePolicyEntry(decodePolicyKey(key), GUARD),
  isPlainAllow: (value) =>
    (value[policyEntryOffset.flags]! & (POLICY_DENY | POLICY_AUTH_EXPLICIT)) === 0 &&
    value[policyEntryOffset.proxyPort] === 0 &&
    value[policyEntryOffset.proxyPort + 1] === 0 &&
    value[policyEntryOffset.authType] === 0,
  // All but the cookie, which stands last.
  decidesAlike: (a, b) => bytesEqual(a.subarray(0, policyEntryOffset.cookie), b.subarray(0, policyEntryOffset.cookie)),
};

/** `80/TCP`, `80-95/TCP`, `TCP` or `ANY`. */
export function portText(key: PolicyKey): string {
  if (key.protocol === 0) return 'ANY';
  const protocol = protocolName(key.protocol);
  if (key.portPrefix === 0) return protocol;
  const last = key.port + (1 << (16 - key.portPrefix)) - 1;
  return `${key.port}${last === key.port ? '' : `-${last}`}/${protocol}`;
}

export const describePolicyEntry: DescribeEntry = (keyBytes, valueBytes) => {
  const key = decodePolicyKey(keyBytes);
  const entry = decodePolicyEntry(valueBytes);
  const policy = entry.deny ? 'Deny' : entry.audited === true ? 'Audit' : 'Allow';
  return {
    key: `${key.direction === 'ingress' ? 'Ingress' : 'Egress'}: ${key.identity} ${portText(key)}`,
    value: `${policy} proxyport=${entry.proxyPort} auth=${entry.authType} precedence=${entry.precedence} cookie=${entry.cookie}`,
    fields: {
      direction: key.direction,
      identity: key.identity,
      protocol: key.protocol,
      port: key.port,
      'port-prefix-length': key.portPrefix,
      deny: entry.deny,
      audited: entry.audited === true,
      'proxy-port': entry.proxyPort,
      'auth-type': entry.authType,
      'auth-explicit': entry.authExplicit,
      precedence: entry.precedence,
      cookie: entry.cookie,
    },
  };
};
