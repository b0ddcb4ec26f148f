import { parseCidr, type Cidr } from '../model/address.ts';
import type { Reader } from './reader.ts';

/** Pods' packets to the world leave under the node's address. */
export interface MasqueradeConfig {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Prefixes to which they go under the pods' own. */
  readonly except: readonly Cidr[];
  /** Entries of the map of translations. */
  readonly mapMax: number;
}

export function readMasquerade(reader: Reader): MasqueradeConfig {
  const native = reader.oneOf('routing-mode', ['tunnel', 'native']) === 'native';
  const family = (version: 4 | 6): { readonly on: boolean; readonly routed: readonly Cidr[] } => {
    const [flag, name] = [`enable-ipv${version}-masquerade`, `ipv${version}-native-routing-cidr`] as const;
    const on = reader.flag(flag);
    const text = reader.optional(name);
    // Pods of nodes that nobody has announced yet would be taken for the world.
    if (on && native && text === undefined)
      reader.fail(flag, `with --routing-mode native, --${name} has to say where pods are routed`);
    const cidr = text === undefined ? undefined : reader.check(name, () => parseCidr(text));
    if (cidr !== undefined && cidr.address.family !== version) reader.fail(name, `${text} is not of IPv${version}`);
    return { on, routed: cidr === undefined ? [] : [cidr] };
  };
  const [ipv4, ipv6] = [family(4), family(6)];
  const named = reader
    .list('non-masquerade-cidrs')
    .map((text) => reader.check('non-masquerade-cidrs', () => parseCidr(text)));
  return Object.freeze({
    ...{ ipv4: ipv4.on, ipv6: ipv6.on, except: [...ipv4.routed, ...ipv6.routed, ...named] },
    mapMax: reader.number('bpf-nat-global-max', 1024, 16_777_216),
  });
}
