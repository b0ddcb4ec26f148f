import type { MonitorEvent } from '../api/models.ts';
import type { EventBatch } from '../flow/event-batch.ts';
import type { FlowEvent } from '../flow/event.ts';

/** Puts names to the numbers of events. */
export interface EventNames {
  name(event: FlowEvent): MonitorEvent;
  /**
   * Which names hold at a time, in milliseconds since the epoch: events of one kind, and of one era of their endpoint, that are
   * named in one turn have the same names.
   */
  era(endpoint: number, time: number): number;
}

/** Events that never came before those that do. */
export interface Untold {
  readonly lost: number;
  readonly limited: number;
}

/** Stands for what differs among events of a kind. An address, a name or a reason is never just this. */
const HOLE = '\0';
const HOLE_TEXT = JSON.stringify(HOLE);

/** What events of a kind have in common, as text: before, between and behind time, both ports and length. */
interface Kind {
  readonly era: number;
  /** The first event of the kind. */
  readonly index: number;
  readonly pieces: readonly string[];
}

/**
 * A batch as lines of JSON, a {@link MonitorEvent} each. Tens of thousands may come in a second, of a few kinds: each kind is
 * named and made text once a batch, and not longer, because names change.
 */
export function eventLines(batch: EventBatch, names: EventNames, untold: Untold): string {
  const kinds = new Map<number, Kind>();
  let lines = '';
  let from = 0;
  if (batch.size > 0 && untold.lost + untold.limited > 0) {
    lines = `${JSON.stringify({ ...names.name(batch.event(0)), ...told(untold) })}\n`;
    from = 1;
  }
  let [millisecond, time] = [NaN, ''];
  for (let i = from; i < batch.size; i++) {
    const at = batch.time(i);
    if (Math.floor(at) !== millisecond) {
      millisecond = Math.floor(at);
      time = timeText(at);
    }
    const { pieces } = kindOf(batch, i, names.era(batch.endpoint(i), at), kinds, names);
    const ports = `${batch.sourcePort(i)}${pieces[2]!}${batch.destinationPort(i)}`;
    lines += `${pieces[0]!}${time}${pieces[1]!}${ports}${pieces[3]!}${batch.length(i)}${pieces[4]!}`;
  }
  return lines;
}

/** RFC 3339, in quotes. */
function timeText(milliseconds: number): string {
  return `"${new Date(milliseconds).toISOString()}"`;
}

function kindOf(batch: EventBatch, index: number, era: number, kinds: Map<number, Kind>, names: EventNames): Kind {
  const hash = batch.kindHash(index);
  const known = kinds.get(hash);
  if (known !== undefined && known.era === era && batch.sameKind(known.index, index)) return known;
  const kind = { era, index, pieces: piecesOf(names.name(batch.event(index))) };
  kinds.set(hash, kind);
  return kind;
}

function piecesOf(event: MonitorEvent): readonly string[] {
  const { source, destination } = event;
  const text = JSON.stringify({
    ...event,
    time: HOLE,
    source: { ...source, port: HOLE },
    destination: { ...destination, port: HOLE },
    length: HOLE,
  });
  return `${text}\n`.split(HOLE_TEXT);
}

/** What a listener reads of events that never came. */
export function told({ lost, limited }: Untold): Partial<Untold> {
  return { ...(lost > 0 && { lost }), ...(limited > 0 && { limited }) };
}
