/** Flows that a pod's process tries again and again, each probe on its own. */
import { createSocket } from 'node:dgram';
import { countdown } from './countdown.ts';
import { tcp, udp } from './exchange.ts';
import { LATE_OK, type Probe, type WatchedFlow } from './pod-protocol.ts';
import { lostSyns, SYN_TIMEOUT_MS } from './syn-retries.ts';

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

export class FlowLoop {
  readonly #timers: NodeJS.Timeout[];
  readonly #kept: KeptSocket[] = [];
  #ended: Probe[] = [];

  constructor(flows: readonly WatchedFlow[]) {
    this.#timers = flows.map((flow, index) => {
      const probe = this.#probeOf(flow);
      return setInterval(() => void this.#try(index, probe), flow.everyMs);
    });
  }

  /** What has ended since the last time. */
  take(): readonly Probe[] {
    return this.#ended.splice(0);
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#kept) socket.close();
  }

  async #try(flow: number, probe: () => Promise<string>): Promise<void> {
    const start = now();
    const result = await probe();
    this.#ended.push({ flow, start, end: now(), result });
  }

  #probeOf(flow: WatchedFlow): () => Promise<string> {
    const { host, port, timeoutMs, transport } = flow;
    if (transport === 'udp') return () => udp({ op: 'udp', host, port, timeoutMs });
    if (transport === 'tcp') return () => tcpAtOnce(flow);
    const socket = new KeptSocket(flow);
    this.#kept.push(socket);
    return () => socket.exchange();
  }
}

/**
 * An exchange that the kernel had to begin twice met a verdict that it should not have. One that merely took long, on a machine
 * that is busy, did not: the kernel counts what it sends again.
 */
async function tcpAtOnce({ host, port, timeoutMs }: WatchedFlow): Promise<string> {
  const before = lostSyns();
  const start = now();
  const result = await tcp({ op: 'tcp', host, port, timeoutMs });
  return result === 'ok' && now() - start > SYN_TIMEOUT_MS && lostSyns() > before ? LATE_OK : result;
}

/** One UDP socket and what it waits for. */
class KeptSocket {
  readonly #flow: WatchedFlow;
  readonly #socket;
  readonly #waiting = new Map<string, (result: string) => void>();
  #next = 0;

  constructor(flow: WatchedFlow) {
    this.#flow = flow;
    this.#socket = createSocket(flow.host.includes(':') ? 'udp6' : 'udp4');
    this.#socket.on('message', (message) => this.#waiting.get(message.toString())?.('ok'));
    // The port is unreachable, as an answer to a denied datagram may say: nothing comes back for it.
    this.#socket.on('error', () => undefined);
  }

  exchange(): Promise<string> {
    const { host, port, timeoutMs } = this.#flow;
    const text = `weir ${this.#next++}`;
    return new Promise((resolve) => {
      const finish = (result: string): void => {
        stop();
        this.#waiting.delete(text);
        resolve(result);
      };
      const stop = countdown(timeoutMs, () => finish('timeout'));
      this.#waiting.set(text, finish);
      this.#socket.send(text, port, host, (error) => {
        if (error !== null) finish(error.message);
      });
    });
  }

  close(): void {
    this.#socket.close();
  }
}
