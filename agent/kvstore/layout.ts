/** Where things stand in the store: Cilium's layout, so that whoever knows Cilium's finds them. */
import { labelSetKey, parseLabel, canonicalLabels, type Label } from '../model/labels.ts';

const STATE = 'cilium/state';

/** Written by the operator every minute: the store takes writes. */
export const HEARTBEAT = 'cilium/.heartbeat';

export const IDENTITIES = {
  /** `<number>` → labels: it stays until the operator collects it. */
  byId: `${STATE}/identities/v1/id/`,
  /** `<labels>/<node>` → number, leased: the node uses the identity. */
  byUser: `${STATE}/identities/v1/value/`,
  /**
   * `<labels>` → number: the one identity of a label set. Not Cilium's, which locks instead; a key that is made and deleted
   * together with the number's own makes two numbers for one label set impossible.
   */
  byLabels: `${STATE}/identities/v1/labels/`,
} as const;

/** `<address>` → IPIdentityPair, leased. */
export const IPS = `${STATE}/ip/v1/default/`;

/** `<cluster>/<node>` → Node, leased. */
export const NODES = `${STATE}/nodes/v1/`;

/** The keys that the nodes of one cluster write. */
export const nodesOf = (cluster: string): string => `${NODES}${cluster}/`;

export const idKey = (id: number): string => `${IDENTITIES.byId}${id}`;
export const labelsKey = (labels: string): string => `${IDENTITIES.byLabels}${labels}`;
/** Prefix of the keys of all nodes that use the labels. */
export const usersPrefix = (labels: string): string => `${IDENTITIES.byUser}${labels}/`;
export const userKey = (labels: string, node: string): string => `${usersPrefix(labels)}${node}`;

/** The labels of a user's key, behind the prefix; undefined when it is none. */
export function labelsOfUser(name: string): string | undefined {
  // Values of labels may hold slashes, names of nodes do not.
  const slash = name.lastIndexOf('/');
  return slash <= 0 ? undefined : name.slice(0, slash);
}

/** Labels as the store has them: sorted, each with a semicolon behind it. */
export const labelsText = (labels: readonly Label[]): string => labelSetKey(labels);

/** Undefined when the text holds no labels. */
export function parseLabels(text: string): readonly Label[] | undefined {
  const parts = text.split(';').filter((part) => part !== '');
  if (parts.length === 0 || !parts.every((part) => /^[^:=]+:[^=]+/.test(part))) return undefined;
  return canonicalLabels(parts.map((part) => parseLabel(part)));
}
