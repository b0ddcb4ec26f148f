/**
 * Reads a BPF ring buffer in place: its pages are mapped into this process, records are looked at where the kernel wrote
 * them, and the event loop wakes when there are any. (Kernel: kernel/bpf/ringbuf.c.)
 */
import koffi, { type KoffiFunc } from 'koffi';
import { mapInfo } from './bpf-info.ts';
import { libc } from './libc.ts';
import { Mapping, PROTECTION } from './mapping.ts';

const getPageSize = libc.func('int getpagesize()') as KoffiFunc<() => number>;

/** A record's header: its length with two flags, then 4 bytes of the kernel's own. */
const HEADER = 8;
/** Reserved, not yet submitted; as the sign of a signed 32-bit number. */
const isBusy = (header: number): boolean => header < 0;
const DISCARDED = 1 << 30;
const LENGTH = DISCARDED - 1;

/** Takes one record: `length` bytes at `offset` of `data`, valid during the call only: copy what is to be kept. */
export type RecordReader = (data: DataView, offset: number, length: number) => void;

/** What a ring buffer has done since it was opened. The kernel does not count what did not fit: programs do. */
export interface RingBufferStats {
  readonly records: number;
  /** Reserved by a program and then given up. */
  readonly discarded: number;
  /** How often the kernel woke the reader. */
  readonly wakeups: number;
  /** Bytes waiting now, headers included. */
  readonly backlog: number;
  /** Most bytes found waiting. */
  readonly peakBacklog: number;
  /** How often the buffer was found more than seven eighths full: then records may have been lost. */
  readonly nearlyFull: number;
  /** How often a drain ended at its cap and left the rest for the next turn. */
  readonly capped: number;
}

export interface RingBufferOptions {
  /** Records a turn of the event loop, so that other work gets its share; 4096 when absent. */
  readonly maxPerTurn?: number;
  /**
   * How long to let records gather after the first of them; 0 when absent. The kernel wakes a reader for a record only if
   * it has read all that were before. A reader that is always quick is woken for every single one, and the packets that
   * cause them pay for that.
   */
  readonly gatherMs?: number;
}

/** Open buffers: koffi's poll handles stop in silence once they are collected. */
const open = new Set<RingBuffer>();

export class RingBuffer implements Disposable {
  readonly size: number;
  readonly #read: RecordReader;
  readonly #maxPerTurn: number;
  readonly #mappings: readonly Mapping[];
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #headers: Int32Array;
  readonly #data: DataView;
  readonly #gatherMs: number;
  readonly #poll: ReturnType<typeof koffi.node.poll>;
  readonly #stats = { records: 0, discarded: 0, wakeups: 0, peakBacklog: 0, nearlyFull: 0, capped: 0 };
  /** Bytes read so far; exact until 2^53. */
  #position: number;
  #open = true;
  /** Set while records gather and nobody watches the descriptor. */
  #gathering: NodeJS.Timeout | undefined;

  private constructor(
    fd: number,
    size: number,
    read: RecordReader,
    { maxPerTurn = 4096, gatherMs = 0 }: RingBufferOptions,
    mappings: readonly [Mapping, Mapping],
  ) {
    this.size = size;
    this.#read = read;
    this.#maxPerTurn = maxPerTurn;
    this.#gatherMs = gatherMs;
    this.#mappings = mappings;
    const page = getPageSize();
    const [consumer, producer] = mappings;
    this.#consumer = new BigUint64Array(consumer.view(), 0, 1);
    const shared = producer.view();
    this.#producer = new BigUint64Array(shared, 0, 1);
    this.#headers = new Int32Array(shared, page);
    this.#data = new DataView(shared, page);
    this.#position = Number(Atomics.load(this.#consumer, 0));
    this.#poll = koffi.node.poll(fd, { readable: true }, this.#onReadable);
    open.add(this);
  }

  /**
   * Reads the ring buffer map of `fd` on the event loop until closed; the process stays alive for it. The descriptor stays
   * the caller's and must outlive the reader. Two readers of one map would steal from each other.
   *
   * @throws KernelError SYSCALL_FAILED
   */
  static open(fd: number, read: RecordReader, options: RingBufferOptions = {}): RingBuffer {
    const size = mapInfo(fd).maxEntries;
    const page = getPageSize();
    const consumer = new Mapping(fd, page, PROTECTION.read | PROTECTION.write, 0);
    try {
      // The data pages are mapped twice in a row: a record that wraps around is still in one piece.
      const producer = new Mapping(fd, page + 2 * size, PROTECTION.read, page);
      return new RingBuffer(fd, size, read, options, [consumer, producer]);
    } catch (error) {
      consumer.unmap();
      throw error;
    }
  }

  readonly #onReadable = (): void => {
    this.#stats.wakeups++;
    if (this.#gatherMs === 0) {
      this.drain();
      return;
    }
    // The descriptor stays readable meanwhile: nobody may look at it.
    this.#poll.stop();
    this.#gathering = setTimeout(() => this.#endGathering(), this.#gatherMs);
  };

  #endGathering(): void {
    try {
      this.drain();
    } finally {
      this.#gathering = undefined;
      if (this.#isOpen()) this.#watch();
    }
  }

  /** What a drain left at its cap is for the next turn; else the next record is waited for. */
  #watch(): void {
    if (this.backlog > 0) this.#gathering = setTimeout(() => this.#endGathering(), 0);
    else this.#poll.start({ readable: true }, this.#onReadable);
  }

  /**
   * Reads what is there, up to the cap; the event loop does this by itself. What `read` throws comes out, its record
   * counted as read.
   *
   * @returns how many records were read
   */
  drain(): number {
    let count = 0;
    if (!this.#open) return count;
    this.#notice(this.backlog);
    // A record submitted before the consumer position was published wakes nobody: look again after publishing it.
    for (let end = this.#produced(); this.#position < end; end = this.#produced()) {
      const before = this.#position;
      count += this.#drainTo(end, this.#maxPerTurn - count);
      if (this.#position === before) break;
      if (count >= this.#maxPerTurn) {
        this.#stats.capped++;
        break;
      }
    }
    return count;
  }

  #drainTo(end: number, most: number): number {
    const { size } = this;
    let count = 0;
    try {
      while (this.#position < end && count < most) {
        const offset = this.#position % size;
        const header = Atomics.load(this.#headers, offset >> 2);
        if (isBusy(header)) break;
        const length = header & LENGTH;
        // Moved on before the record is shown, so that one that cannot be read is not shown forever.
        this.#position += (length + HEADER + 7) & ~7;
        if ((header & DISCARDED) !== 0) {
          this.#stats.discarded++;
          continue;
        }
        count++;
        this.#stats.records++;
        this.#read(this.#data, offset + HEADER, length);
        if (!this.#isOpen()) break;
      }
    } finally {
      if (this.#isOpen()) Atomics.store(this.#consumer, 0, BigInt(this.#position));
    }
    return count;
  }

  /** Bytes waiting. */
  get backlog(): number {
    return this.#open ? this.#produced() - this.#position : 0;
  }

  get stats(): RingBufferStats {
    return { ...this.#stats, backlog: this.backlog };
  }

  /** Stops reading. What was not read stays in the map. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    open.delete(this);
    clearTimeout(this.#gathering);
    this.#poll.close();
    for (const mapping of this.#mappings) mapping.unmap();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Asked anew after every callback, which may close the buffer and with it unmap the pages. */
  #isOpen(): boolean {
    return this.#open;
  }

  #produced(): number {
    return this.#isOpen() ? Number(Atomics.load(this.#producer, 0)) : this.#position;
  }

  #notice(backlog: number): void {
    if (backlog > this.#stats.peakBacklog) this.#stats.peakBacklog = backlog;
    if (backlog > this.size - this.size / 8) this.#stats.nearlyFull++;
  }
}
