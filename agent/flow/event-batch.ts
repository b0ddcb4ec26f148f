import { EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE, TRACE_TO_OVERLAY } from '../../bpf/gen/constants.ts';
import { event as codec, eventOffset } from '../../bpf/gen/structs.ts';
import type { Queue } from './broadcast.ts';
import { decodeEvent, type FlowEvent } from './event.ts';

/** A record of `weir_events` where the kernel wrote it: valid only while it is shown. */
export interface EventRecord {
  readonly data: DataView;
  readonly offset: number;
  readonly type: FlowEvent['type'];
}

const TYPES: ReadonlyMap<number, FlowEvent['type']> = new Map([
  [EVENT_DROP, 'drop'],
  [EVENT_TRACE, 'trace'],
  [EVENT_POLICY_VERDICT, 'policy-verdict'],
]);

/** What a record tells of; undefined for kinds that this agent does not know, such as those of a newer program. */
export function typeOfRecord(data: DataView, offset: number, length: number): FlowEvent['type'] | undefined {
  if (length < codec.size) return undefined;
  const type = TYPES.get(data.getUint8(offset + eventOffset.type));
  return type === 'trace' && data.getUint8(offset + eventOffset.reason) > TRACE_TO_OVERLAY ? undefined : type;
}

/** Words of a record, and those that say more of it than when it was, which ports, and how long. */
const WORDS = codec.size / 4;
const KIND_MASK = kindMask();

function kindMask(): Uint32Array {
  const bytes = new Uint8Array(codec.size);
  bytes.fill(0xff, eventOffset.type, eventOffset.destination + 16);
  for (const [offset, size] of [
    [eventOffset.sourcePort, 2],
    [eventOffset.destinationPort, 2],
    [eventOffset.length, 4],
  ] as const) {
    bytes.fill(0, offset, offset + size);
  }
  return new Uint32Array(bytes.buffer);
}

/**
 * Events as the kernel wrote them, in a row, decoded when somebody asks for one. Most of those that come together differ in
 * time, ports and length only: such are of one kind.
 */
export class EventBatch {
  readonly #words: Uint32Array;
  readonly #view: DataView;
  readonly #bootTime: number;
  readonly size: number;

  /**
   * @param words of `size` records
   * @param bootTime milliseconds since the epoch at which CLOCK_MONOTONIC was 0
   */
  constructor(words: Uint32Array, size: number, bootTime: number) {
    this.#words = words;
    this.#view = new DataView(words.buffer);
    this.#bootTime = bootTime;
    this.size = size;
  }

  event(index: number): FlowEvent {
    const event = decodeEvent(this.#view, index * codec.size, codec.size, this.#bootTime);
    if (event === undefined) throw new RangeError(`no event ${index} among ${this.size}`);
    return event;
  }

  /** As {@link FlowEvent.time}. */
  time(index: number): number {
    const at = index * WORDS;
    return this.#bootTime + (this.#words[at]! + this.#words[at + 1]! * 2 ** 32) / 1e6;
  }

  endpoint(index: number): number {
    return this.#view.getUint16(index * codec.size + eventOffset.endpoint, true);
  }

  sourcePort(index: number): number {
    return this.#view.getUint16(index * codec.size + eventOffset.sourcePort);
  }

  destinationPort(index: number): number {
    return this.#view.getUint16(index * codec.size + eventOffset.destinationPort);
  }

  /** As {@link FlowEvent.length}. */
  length(index: number): number {
    return this.#words[index * WORDS + eventOffset.length / 4]!;
  }

  /** A number that is the same for all events of a kind, and nearly always another for another kind. */
  kindHash(index: number): number {
    const [at, words] = [index * WORDS, this.#words];
    let hash = 0;
    for (let word = 0; word < WORDS; word++) {
      hash = Math.imul(hash ^ (words[at + word]! & KIND_MASK[word]!), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    // Positive, and small enough to be kept without an object of its own.
    return hash >>> 2;
  }

  /** Whether two events differ in time, ports and length only. */
  sameKind(a: number, b: number): boolean {
    const words = this.#words;
    for (let word = 0; word < WORDS; word++) {
      if (((words[a * WORDS + word]! ^ words[b * WORDS + word]!) & KIND_MASK[word]!) !== 0) return false;
    }
    return true;
  }
}

/** Records that room is made for at first. */
const FIRST_ROOM = 64;

/** Copies records as they come, without an object for each. */
export class EventQueue implements Queue<EventRecord, EventBatch> {
  readonly #bootTime: number;
  #words = new Uint32Array(FIRST_ROOM * WORDS);
  #size = 0;

  constructor(bootTime: number) {
    this.#bootTime = bootTime;
  }

  get size(): number {
    return this.#size;
  }

  push({ data, offset }: EventRecord): void {
    const at = this.#size * WORDS;
    if (at === this.#words.length) this.#grow();
    const words = this.#words;
    for (let word = 0; word < WORDS; word++) words[at + word] = data.getUint32(offset + word * 4, true);
    this.#size++;
  }

  take(): EventBatch {
    const batch = new EventBatch(this.#words, this.#size, this.#bootTime);
    // As many as now will be there the next time, more or less.
    this.#words = new Uint32Array(Math.max(FIRST_ROOM, this.#size) * WORDS);
    this.#size = 0;
    return batch;
  }

  #grow(): void {
    const words = new Uint32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
  }
}
