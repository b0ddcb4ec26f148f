/** Flows that a pod's process tries again and again, each probe on its own. */
import { createSocket } from 'node:dgram';
import { countdown } from './countdown.ts';
import { tcp, udp } from './exchange.ts';
import { LATE_OK, type Probe, type Probes, type UnderWay, type WatchedFlow } from './pod-protocol.ts';
import { lostSyns, SYN_TIMEOUT_MS } from './syn-retries.ts';
import { SILENCE_MS } from './wait.ts';

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** A probe that has not ended. */
interface Pending {
  readonly start: number;
  isSilent: boolean;
}

export class FlowLoop {
  readonly #timers: NodeJS.Timeout[];
  readonly #kept: KeptSocket[] = [];
  /** By flow, oldest first. */
  readonly #pending: readonly Set<Pending>[];
  #ended: Probe[] = [];

  constructor(flows: readonly WatchedFlow[]) {
    this.#pending = flows.map(() => new Set());
    this.#timers = flows.map((flow, index) => {
      const probe = this.#probeOf(flow);
      return setInterval(() => void this.#try(index, probe), flow.everyMs);
    });
  }

  /** What has become of the probes since the last time. */
  take(): Probes {
    return { ended: this.#ended.splice(0), underWay: this.#pending.map((pending) => underWay([...pending])) };
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#kept) socket.close();
  }

  async #try(flow: number, probe: () => Promise<string>): Promise<void> {
    const pending: Pending = { start: now(), isSilent: false };
    this.#pending[flow]!.add(pending);
    const stop = countdown(SILENCE_MS, () => (pending.isSilent = true));
    const result = await probe();
    stop();
    this.#pending[flow]!.delete(pending);
    this.#ended.push({ flow, start: pending.start, end: now(), result });
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

function underWay(pending: readonly Pending[]): UnderWay {
  const silent = pending.findLast(({ isSilent }) => isSilent);
  return { ...(pending[0] && { oldest: pending[0].start }), ...(silent && { silent: silent.start }) };
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
