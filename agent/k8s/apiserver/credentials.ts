/** Where the API server is and as whom the agent speaks to it: a kubeconfig, or what Kubernetes puts into a pod. */
import { existsSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
// Only this part: the rest of the package is a class for each kind of Kubernetes, megabytes that an agent would carry.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Clock } from '../../model/clock.ts';
import { errorText, WeirError } from '../../model/errors.ts';

export interface CredentialsOptions {
  /** Undefined: what Kubernetes puts into a pod, when it did. */
  readonly kubeconfig: string | undefined;
  /** Replace the server that the credentials name; more than one are tried in turn. */
  readonly servers: readonly string[];
  readonly clock: Clock;
}

/** What a request is to be made with. */
export interface Access {
  readonly agent: http.Agent;
  readonly headers: Readonly<Record<string, string>>;
}

/** How long tokens and certificates are used before they are read again, in milliseconds: both are renewed on disk. */
const FRESH_MS = 30_000;

/** Bytes that an idle connection keeps quiet before the kernel asks whether the other end lives, in milliseconds. */
const KEEP_ALIVE_MS = 30_000;

/** Whether this process runs in a pod that may speak to the API server. */
export function isInCluster(environment: NodeJS.ProcessEnv): boolean {
  return (environment['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
}

export class Credentials {
  readonly servers: readonly URL[];
  #config: KubeConfig;
  /** Reads the same kubeconfig, or what Kubernetes puts into the pod, as it is now. */
  readonly #load: () => KubeConfig;
  readonly #clock: Clock;
  #access: Promise<Access> | undefined;
  #until = 0;
  /** The server did not know what was read: what remembers it is read anew too. */
  #unknown = false;
  #agent: { readonly key: string; readonly agent: http.Agent } | undefined;

  private constructor(load: () => KubeConfig, config: KubeConfig, servers: readonly URL[], clock: Clock) {
    this.#load = load;
    this.#config = config;
    this.servers = servers;
    this.#clock = clock;
  }

  /** @throws WeirError CONFIG_INVALID when there are none, or they cannot be read. */
  static load({ kubeconfig, servers, clock }: CredentialsOptions): Credentials {
    const config = readConfig(kubeconfig, servers);
    // While the file is away, what it said counts.
    const read = (): KubeConfig =>
      kubeconfig !== undefined && !existsSync(kubeconfig) ? config : readConfig(kubeconfig, servers);
    const cluster = config.getCurrentCluster();
    if (cluster === null) {
      throw new WeirError('CONFIG_INVALID', 'names no cluster in its current context', {
        object: kubeconfig ?? 'kubeconfig',
      });
    }
    const urls = (servers.length > 0 ? servers : [cluster.server]).map(parseServer);
    return new Credentials(read, config, urls, clock);
  }

  /** @throws WeirError CONFIG_INVALID when the credentials cannot be had: a file is gone, a helper fails. */
  access(): Promise<Access> {
    const now = this.#clock.now();
    if (this.#access === undefined || now >= this.#until) {
      this.#until = now + FRESH_MS;
      this.#access = this.#read();
      // A failure is not kept.
      this.#access.catch(() => (this.#access = undefined));
    }
    return this.#access;
  }

  /** Reads them again at the next request: the server did not know them. */
  refresh(): void {
    this.#access = undefined;
    this.#unknown = true;
  }

  close(): void {
    this.#agent?.agent.destroy();
  }

  async #read(): Promise<Access> {
    const options: https.RequestOptions = {};
    try {
      if (this.#unknown) this.#config = this.#load();
      this.#unknown = false;
      const cluster = this.#config.getCurrentCluster();
      // There is nothing to verify without TLS, and the library wants that said.
      if (cluster?.server.startsWith('http:')) Object.assign(cluster, { skipTLSVerify: true });
      await this.#config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw new WeirError('CONFIG_INVALID', `the credentials cannot be read: ${errorText(cause)}`, {
        object: 'kubeconfig',
        cause,
      });
    }
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value);
    if (typeof options.auth === 'string')
      headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    return { agent: this.#agentFor(options), headers };
  }

  /** Connections live on while certificates stay the same. */
  #agentFor(options: https.RequestOptions): http.Agent {
    const { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername } = options;
    const tls = { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername };
    const text = JSON.stringify(tls, (_name, value: unknown) =>
      Buffer.isBuffer(value) ? value.toString('base64') : value,
    );
    if (this.#agent?.key === text) return this.#agent.agent;
    const proxied = this.#config.getCurrentCluster()?.proxyUrl !== undefined;
    const common = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS };
    const set = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
    const agent = proxied
      ? (options.agent as http.Agent)
      : this.servers[0]!.protocol === 'http:'
        ? new http.Agent(common)
        : new https.Agent({ ...common, ...set });
    // Requests under way keep their connections; those of the old agent end with them.
    this.#agent = { key: text, agent };
    return agent;
  }
}

function readConfig(kubeconfig: string | undefined, servers: readonly string[]): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig !== undefined) loadFile(config, kubeconfig);
  else if (isInCluster(process.env)) config.loadFromCluster();
  else if (servers.length > 0)
    config.loadFromClusterAndUser({ name: 'cluster', server: servers[0]!, skipTLSVerify: false }, { name: 'nobody' });
  else {
    throw new WeirError('CONFIG_INVALID', 'there is no API server to speak to', {
      field: '--enable-k8s',
      remedy: 'name a kubeconfig with --k8s-kubeconfig-path, or run in a pod with a service account',
    });
  }
  return config;
}

function loadFile(config: KubeConfig, path: string): void {
  if (!existsSync(path))
    throw new WeirError('CONFIG_INVALID', 'there is no such kubeconfig', {
      object: path,
      field: '--k8s-kubeconfig-path',
    });
  try {
    config.loadFromFile(path);
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', `is no kubeconfig: ${errorText(cause)}`, {
      object: path,
      field: '--k8s-kubeconfig-path',
      cause,
    });
  }
}

function parseServer(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new WeirError('CONFIG_INVALID', `${JSON.stringify(text)} is not an URL of an API server`, {
    field: '--k8s-api-server-urls',
  });
}
