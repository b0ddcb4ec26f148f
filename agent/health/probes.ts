import { Agent, get } from 'node:http';
import { EchoSocket } from '../kernel/echo.ts';
import { formatAddress, type Address } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import type { Probes } from './checker.ts';
import { HELLO_PATH } from './responder.ts';

export interface ProbeSettings {
  /** Where nodes and their health endpoints answer `/hello`. */
  readonly port: number;
  /** An address is silent when so many echoes in a row stay without an answer. */
  readonly echoes: number;
  /** How long each echo, and a whole exchange of HTTP, may take, in milliseconds. */
  readonly echoTimeoutMs: number;
  readonly httpTimeoutMs: number;
}

/** Probes from the namespace of the node itself. */
export class NetworkProbes implements Probes, Disposable {
  readonly #settings: ProbeSettings;
  readonly #echo = new Map<4 | 6, EchoSocket>();
  /** A connection each: an open one would not tell whether another can be made. */
  readonly #agent = new Agent({ keepAlive: false });

  constructor(settings: ProbeSettings) {
    this.#settings = settings;
  }

  /** @throws WeirError HEALTH_PROBE_FAILED, SYSCALL_FAILED */
  icmp = async (address: Address): Promise<number> => {
    const { echoes, echoTimeoutMs } = this.#settings;
    const socket = this.#socket(address.family);
    for (let attempt = 1; attempt <= echoes; attempt++) {
      const nanoseconds = await socket.ask(address, echoTimeoutMs);
      if (nanoseconds !== undefined) return nanoseconds;
    }
    throw new WeirError('HEALTH_PROBE_FAILED', `no answer to ${echoes} echoes of ${echoTimeoutMs} ms`);
  };

  /** @throws WeirError HEALTH_PROBE_FAILED; errors of the connection */
  http = (address: Address): Promise<number> => {
    const { port, httpTimeoutMs } = this.#settings;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const start = process.hrtime.bigint();
    const options = { host: formatAddress(address), port, path: HELLO_PATH, agent: this.#agent };
    const request = get(options, (response) => {
      response.resume().on('error', reject);
      const { statusCode = 0 } = response;
      if (statusCode === 200) resolve(Number(process.hrtime.bigint() - start));
      else reject(new WeirError('HEALTH_PROBE_FAILED', `answered with status ${statusCode}`));
    });
    const late = (): void =>
      void request.destroy(new WeirError('HEALTH_PROBE_FAILED', `no answer in ${httpTimeoutMs} ms`));
    const timer = setTimeout(late, httpTimeoutMs).unref();
    request.on('error', reject);
    return promise.finally(() => clearTimeout(timer));
  };

  [Symbol.dispose](): void {
    this.#agent.destroy();
    for (const socket of this.#echo.values()) socket[Symbol.dispose]();
    this.#echo.clear();
  }

  #socket(family: 4 | 6): EchoSocket {
    const socket = this.#echo.get(family) ?? new EchoSocket(family);
    this.#echo.set(family, socket);
    return socket;
  }
}
