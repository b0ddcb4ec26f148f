/** Descriptors on the event loop, for those that Node has no object for. */
import koffi from 'koffi';

/** Open polls: koffi's handles stop in silence once they are collected. */
const open = new Set<Poll>();

/** Calls back while a descriptor is ready, until it is closed. The descriptor stays its owner's, who closes the poll first. */
export class Poll implements Disposable {
  readonly #handle: ReturnType<typeof koffi.node.poll>;

  private constructor(fd: number, events: { readable?: boolean; writable?: boolean }, ready: () => void) {
    this.#handle = koffi.node.poll(fd, events, () => ready());
    open.add(this);
  }

  static readable(fd: number, ready: () => void): Poll {
    return new Poll(fd, { readable: true }, ready);
  }

  static writable(fd: number, ready: () => void): Poll {
    return new Poll(fd, { writable: true }, ready);
  }

  close(): void {
    if (open.delete(this)) this.#handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
