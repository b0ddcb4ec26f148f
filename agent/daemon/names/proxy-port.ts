import type { Clock } from '../../model/clock.ts';
import type { WeirError } from '../../model/errors.ts';
import { JsonFile } from '../../state/json-file.ts';

/** Remembers the port of the DNS proxy, so that the next agent's policy maps name it from the start. */
export class ProxyPortFile {
  readonly #file: JsonFile<{ readonly dns: number }>;

  constructor(stateDir: string) {
    this.#file = new JsonFile(`${stateDir}/proxy-ports.json`, decode);
  }

  /** The port of the last run, 0 when there was none; `problem` when what was remembered is lost. */
  async read(clock: Clock): Promise<{ readonly port: number; readonly problem?: WeirError }> {
    const outcome = await this.#file.read(clock.now());
    if (outcome.kind === 'corrupt') return { port: 0, problem: outcome.error };
    return { port: outcome.kind === 'value' ? outcome.value.dns : 0 };
  }

  /** @throws WeirError STATE_WRITE_FAILED */
  async write(port: number): Promise<void> {
    await this.#file.write({ dns: port });
  }
}

function decode(json: unknown): { readonly dns: number } {
  const dns = typeof json === 'object' && json !== null && 'dns' in json ? json.dns : undefined;
  if (typeof dns === 'number' && Number.isInteger(dns) && dns > 0 && dns < 65536) return { dns };
  throw new Error('dns is no port');
}
