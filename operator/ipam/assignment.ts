/**
 * Which node has which pod CIDRs: decided from the ledger, which is the truth, and from what nodes have already. Pure.
 *
 * Operators agree through the ledger: it is one object, which only changes from the version that was read. Two that lead at
 * the same moment therefore never give two nodes one prefix.
 */
import { formatCidr, parseCidr, type Cidr } from '../../agent/model/address.ts';
import { errorText } from '../../agent/model/errors.ts';
import type { PoolConfig } from '../config.ts';
import { CidrPool, overlaps } from './cidr-pool.ts';

/** Pod CIDRs by the name of the node. */
export type Ledger = ReadonlyMap<string, readonly string[]>;

export interface Assignment {
  readonly ledger: Ledger;
  /** Nodes that did not get what they need, and why. */
  readonly errors: ReadonlyMap<string, string>;
  readonly usage: readonly { readonly family: 4 | 6; readonly total: bigint; readonly taken: number }[];
}

/**
 * @param nodes pod CIDRs that each node says it has, in the order in which nodes are to be served
 * @param gone nodes of the ledger that are no more
 */
export function assign(
  config: readonly PoolConfig[],
  before: Ledger,
  nodes: Ledger,
  gone: ReadonlySet<string>,
): Assignment {
  const pools = config.map((pool) => new CidrPool(pool));
  const ledger = new Map<string, readonly string[]>();
  const errors = new Map<string, string>();
  const taken: { readonly node: string; readonly cidr: Cidr }[] = [];
  const claim = (node: string, cidr: Cidr): string | undefined => {
    const other = taken.find((entry) => entry.node !== node && overlaps(entry.cidr, cidr));
    if (other !== undefined) return `${formatCidr(cidr)} overlaps ${formatCidr(other.cidr)} of node ${other.node}`;
    taken.push({ node, cidr });
    poolOf(pools, cidr)?.take(cidr);
    return undefined;
  };
  for (const [node, cidrs] of before) {
    if (gone.has(node)) continue;
    const kept = cidrs.map(parseCidr).filter((cidr) => claim(node, cidr) === undefined);
    ledger.set(node, kept.map(formatCidr));
  }
  for (const [node, own] of nodes) adopt(node, own, { ledger, errors, claim });
  for (const node of nodes.keys()) {
    if (!errors.has(node)) complete(node, pools, ledger, errors);
  }
  return { ledger, errors, usage: pools.map((pool) => ({ family: pool.family, ...pool.size })) };
}

interface Books {
  readonly ledger: Map<string, readonly string[]>;
  readonly errors: Map<string, string>;
  readonly claim: (node: string, cidr: Cidr) => string | undefined;
}

/** What a node has already is its own, unless it is another's: pods use it. */
function adopt(node: string, own: readonly string[], { ledger, errors, claim }: Books): void {
  const known = ledger.get(node) ?? [];
  for (const text of own) {
    if (known.includes(text)) continue;
    try {
      const fault = claim(node, parseCidr(text));
      if (fault !== undefined) errors.set(node, fault);
      else ledger.set(node, [...(ledger.get(node) ?? []), text]);
    } catch (error) {
      errors.set(node, errorText(error));
    }
  }
}

/** Gives a node a prefix of every family that it lacks. */
function complete(
  node: string,
  pools: readonly CidrPool[],
  ledger: Map<string, readonly string[]>,
  errors: Map<string, string>,
): void {
  const cidrs = [...(ledger.get(node) ?? [])];
  for (const pool of pools) {
    if (cidrs.some((text) => parseCidr(text).address.family === pool.family)) continue;
    const cidr = pool.allocate();
    if (cidr === undefined) {
      errors.set(
        node,
        `the IPv${pool.family} pool is exhausted: add a prefix to --cluster-pool-ipv${pool.family}-cidr`,
      );
      break;
    }
    cidrs.push(formatCidr(cidr));
  }
  ledger.set(node, cidrs);
}

const poolOf = (pools: readonly CidrPool[], cidr: Cidr): CidrPool | undefined =>
  pools.find((pool) => pool.covers(cidr));
