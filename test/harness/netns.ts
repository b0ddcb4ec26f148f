import { run } from './exec.ts';
import { uniqueName } from './run.ts';

/** A network namespace of the test's own, with its loopback up. */
export class Netns implements Disposable {
  readonly name: string;
  readonly path: string;

  constructor(what: string) {
    this.name = uniqueName(what);
    this.path = `/run/netns/${this.name}`;
    run(['ip', 'netns', 'add', this.name]);
    run(['ip', '-n', this.name, 'link', 'set', 'lo', 'up']);
  }

  /** Words that, put before a command, run it in this namespace with the mounts of the host (so bpffs is seen). */
  get enter(): readonly string[] {
    return ['nsenter', `--net=${this.path}`, '--'];
  }

  /** Runs `ip` words in this namespace. */
  ip(words: string): string {
    return run(['ip', '-n', this.name, ...words.split(' ')]);
  }

  /** Sets sysctls below /proc/sys/net of this namespace. */
  sysctl(settings: Readonly<Record<string, string | number>>): void {
    const script = Object.entries(settings)
      .map(([key, value]) => `echo ${value} > /proc/sys/net/${key}`)
      .join('\n');
    run([...this.enter, 'sh', '-ec', script]);
  }

  [Symbol.dispose](): void {
    run(['ip', 'netns', 'del', this.name]);
  }
}

/** Joins two namespaces with a veth pair and gives each end its addresses (`address/length`). */
export function connect(
  a: { ns: Netns; name: string; addresses: readonly string[] },
  b: { ns: Netns; name: string; addresses: readonly string[] },
): void {
  a.ns.ip(`link add ${a.name} type veth peer name ${b.name} netns ${b.ns.name}`);
  for (const { ns, name, addresses } of [a, b]) {
    for (const address of addresses) ns.ip(`addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`);
    ns.ip(`link set ${name} up`);
  }
}
