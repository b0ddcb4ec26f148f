import type { BPFMapEntry } from '../../agent/api/models.ts';
import { WeirError } from '../../agent/model/errors.ts';
import type { Context } from '../context.ts';

/**
 * The decoded entries of a kernel map, by the agent.
 *
 * @throws WeirError MAP_NOT_FOUND, or ANSWER_INVALID when the agent does not decode this map.
 */
export async function dumpMap<Fields extends NonNullable<BPFMapEntry['fields']>>(
  context: Context,
  name: string,
): Promise<readonly Fields[]> {
  const map = await context.client.map(name);
  return (map.cache ?? []).map((entry) => {
    if (entry.fields !== undefined) return entry.fields as Fields;
    throw new WeirError('ANSWER_INVALID', `the agent sent entries of ${name} without their fields`, {
      remedy: `this agent is of another version; see the raw entries with \`weir map get ${name}\``,
    });
  });
}
