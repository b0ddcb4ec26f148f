import { WeirError } from './errors.ts';

/** How to reach a key-value store: `--kvstore-opt`. */
export interface EtcdOptions {
  /** A file as etcd's own client takes it. */
  readonly config?: string;
  /** Servers; they go before those of the file. */
  readonly addresses: readonly string[];
}

/**
 * Options such as `etcd.config=/var/lib/etcd-config/etcd.config`, or all of them as one JSON object, as Cilium's
 * configuration has them.
 *
 * @throws WeirError CONFIG_INVALID
 */
export function parseEtcdOptions(texts: readonly string[]): EtcdOptions {
  const options = new Map<string, string[]>();
  for (const [name, value] of pairsOf(texts)) options.set(name, [...(options.get(name) ?? []), value]);
  const unknown = [...options.keys()].find((name) => !['etcd.config', 'etcd.address', 'etcd.operator'].includes(name));
  if (unknown !== undefined)
    throw new WeirError('CONFIG_INVALID', `there is no option ${unknown}: there are etcd.config and etcd.address`);
  const config = options.get('etcd.config')?.at(-1);
  const addresses = options.get('etcd.address') ?? [];
  if (config === undefined && addresses.length === 0)
    throw new WeirError('CONFIG_INVALID', 'no server is named: say etcd.address=URL, or etcd.config=FILE');
  return { ...(config !== undefined && { config }), addresses };
}

function pairsOf(texts: readonly string[]): [string, string][] {
  const whole = texts.join(',');
  if (whole.startsWith('{')) {
    const fail = (): never => {
      throw new WeirError('CONFIG_INVALID', `${whole} is not a JSON object of texts`);
    };
    let json: unknown;
    try {
      json = JSON.parse(whole);
    } catch {
      return fail();
    }
    const entries = Object.entries(json as Record<string, unknown>);
    return entries.map(([name, value]) => [name, typeof value === 'string' ? value : fail()]);
  }
  return texts.map((text) => {
    const eq = text.indexOf('=');
    if (eq < 0)
      throw new WeirError('CONFIG_INVALID', `${text} is not NAME=VALUE, such as etcd.address=http://HOST:2379`);
    return [text.slice(0, eq), text.slice(eq + 1)];
  });
}
