import { Resolver } from 'node:dns/promises';
import { parseAddress } from '../../model/address.ts';
import type { PolledAnswer, ResolveName } from './name-poller.ts';

/** How long a server may take, in milliseconds, and how often each is asked. */
const QUESTION = { timeout: 3_000, tries: 2 } as const;

/**
 * Asks DNS servers for both families.
 *
 * @param servers as `Resolver.setServers` has them; empty: those of the node (`/etc/resolv.conf`)
 */
export function nameResolver(servers: readonly string[]): ResolveName {
  return async (name) => {
    // Anew each time: the servers of the node may be others than before.
    const resolver = new Resolver(QUESTION);
    if (servers.length > 0) resolver.setServers(servers);
    const [v4, v6] = await Promise.all([
      answered(resolver.resolve4(name, { ttl: true })),
      answered(resolver.resolve6(name, { ttl: true })),
    ]);
    const records = [...v4, ...v6];
    const answer: PolledAnswer = {
      addresses: records.map(({ address }) => parseAddress(address)),
      ttl: Math.min(...records.map(({ ttl }) => ttl), 86_400),
    };
    return answer;
  };
}

/** That there is no such name, or no address of the family, is an answer. */
async function answered<T>(records: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await records;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENODATA' || code === 'ENOTFOUND') return [];
    throw error;
  }
}
