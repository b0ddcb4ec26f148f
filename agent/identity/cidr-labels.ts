import { formatAddress, type Cidr } from '../model/address.ts';
import { canonicalLabels, type Label } from '../model/labels.ts';
import { reservedLabel } from './reserved.ts';

/** Which address families the node serves; it decides how "the world" of a family is called. */
export interface Families {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** `reserved:world` where one family is served, the world of the family where both are (S1). */
export function worldLabel(family: 4 | 6, families: Families): Label {
  const served = family === 4 ? families.ipv4 : families.ipv6;
  if (served && !(families.ipv4 && families.ipv6)) return reservedLabel('world');
  return reservedLabel(family === 4 ? 'world-ipv4' : 'world-ipv6');
}

/**
 * The label that names a prefix. Label keys cannot hold colons, so IPv6 writes dashes, with a zero where the text would
 * start or end in one (S21).
 */
export function cidrLabel(cidr: Cidr): Label {
  let text = formatAddress(cidr.address).replaceAll(':', '-');
  if (text.startsWith('-')) text = `0${text}`;
  if (text.endsWith('-')) text = `${text}0`;
  return { source: 'cidr', key: `${text}/${cidr.length}`, value: '' };
}

/**
 * The labels of a prefix's identity: its own prefix and its world; `/0` is world alone (S21). Covering prefixes are not
 * listed: a selector finds them by looking at the prefix, so that a new selector needs no new identity.
 */
export function cidrLabels(cidr: Cidr, families: Families): readonly Label[] {
  const world = worldLabel(cidr.address.family, families);
  return canonicalLabels(cidr.length === 0 ? [world] : [cidrLabel(cidr), world]);
}
