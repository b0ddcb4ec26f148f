/** A real etcd for tests: on one address, with its data in a folder that goes with it. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, createWriteStream, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EtcdClient } from '../../agent/kvstore/etcd/client.ts';
import { systemClock } from '../../agent/model/clock.ts';
import { run, start, stop } from './exec.ts';
import { uniqueName } from './run.ts';
import { waitFor } from './wait.ts';

export interface EtcdOptions {
  /** Words that put it into a network namespace. */
  readonly enter?: readonly string[];
  readonly host?: string;
  /** Absent: any that is free on this machine's loopback. */
  readonly port?: number;
  /** Speaks TLS only, and only to clients with a certificate of the authority. */
  readonly tls?: EtcdTls;
}

export interface EtcdTls {
  /** Files of the server's own; `ca` signs clients. */
  readonly server: TlsFiles;
  /** Files of a client that is let in. */
  readonly client: TlsFiles;
}

/** PEM files. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export class Etcd implements AsyncDisposable {
  readonly url: string;
  readonly #enter: readonly string[];
  readonly #peerUrl: string;
  readonly #tls: EtcdTls | undefined;
  readonly #directory = mkdtempSync(path.join(tmpdir(), `${uniqueName('etcd')}-`));
  #child: ChildProcess | undefined;

  private constructor(url: string, peerUrl: string, enter: readonly string[], tls: EtcdTls | undefined) {
    this.url = url;
    this.#peerUrl = peerUrl;
    this.#enter = enter;
    this.#tls = tls;
  }

  static async start({ enter = [], host = '127.0.0.1', port, tls }: EtcdOptions = {}): Promise<Etcd> {
    const [client, peer] = port === undefined ? await freePorts() : [port, port + 1];
    const scheme = tls === undefined ? 'http' : 'https';
    const etcd = new Etcd(`${scheme}://${host}:${client}`, `http://${host}:${peer}`, enter, tls);
    await etcd.resume();
    return etcd;
  }

  /** Ends it at once, as a crash does, and keeps its data. */
  async halt(): Promise<void> {
    if (this.#child !== undefined) await stop(this.#child, 'SIGKILL');
    this.#child = undefined;
  }

  /** Goes on with its data. */
  async resume(): Promise<void> {
    const log = createWriteStream(path.join(this.#directory, 'log'), { flags: 'a' });
    await new Promise((resolve) => log.once('open', resolve));
    const argv = [
      ...this.#enter,
      ...['etcd', '--name', 'test', '--data-dir', path.join(this.#directory, 'data')],
      ...['--listen-client-urls', this.url, '--advertise-client-urls', this.url],
      ...['--listen-peer-urls', this.#peerUrl, '--initial-advertise-peer-urls', this.#peerUrl],
      ...['--initial-cluster', `test=${this.#peerUrl}`, '--unsafe-no-fsync'],
      ...serverFlags(this.#tls),
      // The first leader is soon there.
      ...['--heartbeat-interval', '50', '--election-timeout', '250'],
    ];
    const begun = this.#log().length;
    this.#child = start(argv, { stdio: ['ignore', log, log] });
    log.close();
    const child = this.#child;
    await waitFor('etcd to answer', async () => {
      if (child.exitCode !== null) throw new Error(`etcd ended; its log:\n${this.#logTail()}`);
      return this.#enter.length > 0 ? this.#isUp(begun) : await this.#answers();
    });
  }

  /** Loses all that it held, as a store does that is set up anew. */
  async wipe(): Promise<void> {
    await this.halt();
    rmSync(path.join(this.#directory, 'data'), { recursive: true, force: true });
    await this.resume();
  }

  /** A client of its own; the caller ends it. */
  client(): EtcdClient {
    const tls = this.#tls && contentOf(this.#tls.client);
    return new EtcdClient({ config: { endpoints: [this.url], ...(tls && { tls }) }, clock: systemClock });
  }

  /** Keys that begin with the prefix, and their values, as etcd's own tool shows them. */
  keys(prefix: string): Map<string, string> {
    const lines = run([...this.#enter, 'etcdctl', '--endpoints', this.url, 'get', '--prefix', prefix], {
      env: { ...process.env, ETCDCTL_API: '3' },
    }).split('\n');
    return new Map(Array.from({ length: lines.length >> 1 }, (_, i) => [lines[2 * i]!, lines[2 * i + 1]!]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.halt();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #answers(): Promise<boolean> {
    using client = this.client();
    await client.get('ready');
    return true;
  }

  /** From within another network its log has to do. */
  #isUp(begun: number): boolean {
    return /ready to serve .*client requests/.test(this.#log().slice(begun));
  }

  #log(): string {
    const log = path.join(this.#directory, 'log');
    return existsSync(log) ? readFileSync(log, 'utf8') : '';
  }

  #logTail(lines = 20): string {
    return this.#log().trimEnd().split('\n').slice(-lines).join('\n');
  }
}

function serverFlags(tls: EtcdTls | undefined): string[] {
  if (tls === undefined) return [];
  const { ca, cert, key } = tls.server;
  return ['--client-cert-auth', '--trusted-ca-file', ca, '--cert-file', cert, '--key-file', key];
}

const contentOf = ({ ca, cert, key }: TlsFiles) => ({
  ...{ ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) },
});

/** Two ports that nobody listens on. */
async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()] as const;
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return [ports[0]!, ports[1]!];
}
