/** How to reach etcd, and as whom. */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { parse } from 'yaml';
import { errorText, WeirError } from '../../model/errors.ts';
import type { EtcdOptions } from '../../model/kvstore.ts';

export interface EtcdConfig {
  /** URLs; tried in turn. */
  readonly endpoints: readonly string[];
  /** Absent: the connection is not encrypted. */
  readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly auth?: { readonly username: string; readonly password: string };
}

/** @throws WeirError CONFIG_INVALID naming the file and the entry. */
export function loadEtcdConfig({ config, addresses }: EtcdOptions): EtcdConfig {
  const file = config === undefined ? {} : readConfigFile(config);
  const text = (...names: string[]): string | undefined => {
    for (const name of names) {
      const value = file[name];
      if (typeof value === 'string' && value !== '') return value;
      if (value !== undefined && value !== null && value !== '') invalid(config!, name, 'must be a text');
    }
    return undefined;
  };
  const listed = file['endpoints'] ?? [];
  if (!isTexts(listed)) return invalid(config!, 'endpoints', 'must be a list of URLs');
  const endpoints = (addresses.length > 0 ? addresses : listed).map((url) => url.trim()).filter(Boolean);
  if (endpoints.length === 0)
    throw new WeirError('CONFIG_INVALID', 'no server of etcd is named', {
      field: '--kvstore-opt',
      remedy: 'name one: --kvstore-opt etcd.address=https://HOST:2379, or endpoints in the file of etcd.config',
    });
  for (const url of endpoints) {
    if (!/^(https?:\/\/)?[^/\s]+$/.test(url)) return invalid('--kvstore-opt', 'etcd.address', `${url} is not a URL`);
  }
  const username = text('username');
  return {
    endpoints,
    ...(endpoints.some((url) => url.startsWith('https://')) && {
      tls: readTls(config, text),
    }),
    ...(username !== undefined && { auth: { username, password: text('password') ?? '' } }),
  };
}

function readConfigFile(path: string): Readonly<Record<string, unknown>> {
  try {
    const content: unknown = parse(readFileSync(path, 'utf8'));
    if (typeof content === 'object' && content !== null && !Array.isArray(content))
      return content as Record<string, unknown>;
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', `cannot be read: ${errorText(cause)}`, { object: path, cause });
  }
  throw new WeirError('CONFIG_INVALID', 'must be a mapping such as "endpoints: [https://etcd:2379]"', { object: path });
}

function readTls(config = '', text: (...names: string[]) => string | undefined): NonNullable<EtcdConfig['tls']> {
  const ca = text('trusted-ca-file', 'ca-file');
  const cert = text('cert-file');
  const key = text('key-file');
  if ((cert === undefined) !== (key === undefined))
    return invalid(config, cert === undefined ? 'cert-file' : 'key-file', 'is missing: the two go together');
  const tls = {
    ...(ca !== undefined && { ca: readPart(config, ca) }),
    ...(cert !== undefined && { cert: readPart(config, cert) }),
    ...(key !== undefined && { key: readPart(config, key) }),
  };
  try {
    createSecureContext(tls);
  } catch (cause) {
    const field = [ca, cert, key].filter((file) => file !== undefined).join(', ');
    return invalid(config, field, `cannot be used as certificates and their key: ${errorText(cause)}`);
  }
  return tls;
}

function readPart(config: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    return invalid(config, path, `cannot be read: ${errorText(cause)}`);
  }
}

function invalid(object: string, field: string, message: string): never {
  throw new WeirError('CONFIG_INVALID', message, { object, field });
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');
