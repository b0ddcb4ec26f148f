/** Real DNS servers in a namespace: unbound, dnsmasq, knot. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { start, stop, tryRun } from './exec.ts';
import type { Netns } from './netns.ts';
import { uniqueName } from './run.ts';
import { waitFor } from './wait.ts';

export type ServerKind = 'unbound' | 'dnsmasq' | 'knot';

export interface DnsServerOptions {
  readonly kind: ServerKind;
  /** Zone files' lines, owner first: `www.example.com. 60 A 192.0.2.1`. */
  readonly records: readonly string[];
  /** The zone that the records are of, for servers that have to know. */
  readonly zone: string;
  readonly addresses: readonly string[];
  readonly port?: number;
}

/** A server that answers for `zone` with `records`, and for nothing else. */
export class DnsServerProcess implements AsyncDisposable {
  readonly #dir: string;
  readonly #child: ChildProcess;

  private constructor(dir: string, child: ChildProcess) {
    this.#dir = dir;
    this.#child = child;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  static async start(ns: Netns, options: DnsServerOptions): Promise<DnsServerProcess> {
    const dir = mkdtempSync(path.join(tmpdir(), `${uniqueName(options.kind)}-`));
    const child = start([...ns.enter, ...COMMANDS[options.kind](dir, options)], { stdio: 'ignore' });
    const server = new DnsServerProcess(dir, child);
    const [address, port] = [options.addresses[0]!, options.port ?? 53];
    const ask = [...ns.enter, 'dig', `@${address}`, '-p', String(port), '+time=1', '+tries=1', options.zone, 'SOA'];
    try {
      await waitFor(`${options.kind} to answer`, () => {
        if (child.exitCode !== null) throw new Error(`${options.kind} ended with ${child.exitCode}`);
        return tryRun(ask).stdout.includes('status: ');
      });
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#child, 'SIGKILL');
    if (existsSync(this.#dir)) rmSync(this.#dir, { recursive: true });
  }
}

const COMMANDS: Readonly<Record<ServerKind, (dir: string, options: DnsServerOptions) => readonly string[]>> = {
  unbound: (dir, { records, zone, addresses, port = 53 }) => {
    const config = path.join(dir, 'unbound.conf');
    writeFileSync(
      config,
      `server:
  directory: "${dir}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  num-threads: 1
  so-reuseport: no
  edns-buffer-size: 4096
  max-udp-size: 4096
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
${addresses.map((address) => `  interface: ${address}@${port}`).join('\n')}
  local-zone: "${zone}" static
  local-data: "${zone} 60 SOA ns.${zone} root.${zone} 1 60 60 60 60"
${records.map((record) => `  local-data: '${record}'`).join('\n')}
remote-control:
  control-enable: no
`,
    );
    return ['unbound', '-d', '-p', '-c', config];
  },
  dnsmasq: (_dir, { records, zone, addresses, port = 53 }) => [
    'dnsmasq',
    ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root', '--pid-file='],
    ...['--bind-interfaces', `--port=${port}`, '--edns-packet-max=4096', `--local=/${zone.replace(/\.$/, '')}/`],
    ...addresses.map((address) => `--listen-address=${address}`),
    ...records.flatMap(dnsmasqRecord),
  ],
  knot: (dir, { records, zone, addresses, port = 53 }) => {
    const file = path.join(dir, 'zone');
    const soa = `${zone} 60 SOA ns.${zone} root.${zone} 1 60 60 60 60`;
    writeFileSync(file, `${[soa, `${zone} 60 NS ns.${zone}`, `ns.${zone} 60 A 192.0.2.53`, ...records].join('\n')}\n`);
    const config = path.join(dir, 'knot.conf');
    writeFileSync(
      config,
      `server:
    rundir: "${dir}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
${addresses.map((address) => `    listen: ${address}@${port}`).join('\n')}
database:
    storage: "${dir}"
zone:
  - domain: ${zone}
    file: "${file}"
    zonefile-sync: -1
    journal-content: none
`,
    );
    return ['knotd', '-c', config];
  },
};

/** What dnsmasq can be told of: addresses, aliases and texts. */
function dnsmasqRecord(record: string): readonly string[] {
  const [owner, ttl, type, ...data] = record.split(' ');
  const name = owner!.replace(/\.$/, '');
  if (type === 'A' || type === 'AAAA') return [`--host-record=${name},${data[0]!},${ttl!}`];
  if (type === 'CNAME') return [`--cname=${name},${data[0]!.replace(/\.$/, '')},${ttl!}`];
  if (type === 'TXT') return [`--txt-record=${name},${data.join(' ').replaceAll('"', '')}`];
  return [];
}
