import type { IdentityId } from '../model/identity.ts';
import type { NamedPort, PolicyEngine } from '../policy/contract.ts';
import type { Endpoint } from './endpoint.ts';
import type { PodDirectory } from './pod-directory.ts';

/** Ports that pods of an identity call by name. */
export interface IdentityPorts {
  readonly identity: IdentityId;
  readonly namedPorts: readonly NamedPort[];
}

/** Ports by their text, each with how many say it. */
type Counted = Map<string, { readonly port: NamedPort; count: number }>;

/** Tells the engine which ports the endpoints of an identity call by name, together (S35): this node's and the others'. */
export class NamedPortIndex {
  readonly #policies: PolicyEngine;
  readonly #pods: PodDirectory;
  /** Of the endpoints of other nodes, by whoever announces them, and all of them together. */
  readonly #announced = new Map<string, readonly IdentityPorts[]>();
  readonly #remote = new Map<IdentityId, Counted>();
  /** Lists of ports by their text: pods of a kind announce equal ones. */
  #lists = new Map<string, readonly NamedPort[]>();
  #local: ReadonlyMap<IdentityId, Counted> = new Map();
  /** What the engine was told last. */
  readonly #told = new Map<IdentityId, { readonly text: string; readonly ports: readonly NamedPort[] }>();

  constructor(policies: PolicyEngine, pods: PodDirectory) {
    this.#policies = policies;
    this.#pods = pods;
  }

  portsOf({ attachment: { namespace, podName } }: Endpoint): readonly NamedPort[] {
    return podName === '' ? [] : (this.#pods.pod(namespace, podName)?.namedPorts ?? []);
  }

  /** Identities that have a port of this name, with its number. */
  *withName(name: string, protocol: number): Generator<{ readonly identity: IdentityId; readonly port: number }> {
    for (const [identity, { ports }] of this.#told) {
      for (const named of ports) {
        if (named.name !== name || (protocol !== 0 && named.protocol !== 0 && named.protocol !== protocol)) continue;
        yield { identity, port: named.port };
      }
    }
  }

  /** Looks again at all endpoints of this node and tells what changed. */
  update(endpoints: readonly Endpoint[]): void {
    const local = new Map<IdentityId, Counted>();
    for (const endpoint of endpoints) {
      if (endpoint.identity === undefined || endpoint.isLeaving) continue;
      count(local, { identity: endpoint.identity.id, namedPorts: this.portsOf(endpoint) }, 1);
    }
    const before = this.#local;
    this.#local = local;
    this.#tell([...before.keys(), ...local.keys()]);
  }

  /** Ports of the endpoints of other nodes that `owner` announces; what it said before is void. */
  announce(owner: string, endpoints: readonly IdentityPorts[]): void {
    const now = endpoints
      .filter(({ namedPorts }) => namedPorts.length > 0)
      .map(({ identity, namedPorts }) => ({ identity, namedPorts: this.#shared(namedPorts) }));
    const before = this.#announced.get(owner) ?? [];
    if (now.length === 0 && before.length === 0) return;
    for (const ports of before) count(this.#remote, ports, -1);
    for (const ports of now) count(this.#remote, ports, 1);
    if (now.length === 0) this.#announced.delete(owner);
    else this.#announced.set(owner, now);
    this.#tell([...before, ...now].map(({ identity }) => identity));
  }

  /** An equal list that others have, too. */
  #shared(ports: readonly NamedPort[]): readonly NamedPort[] {
    const text = ports.map(portText).join(',');
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    // Forgetting costs memory only: what is in use stays, and is shared anew.
    if (this.#lists.size >= LISTS) this.#lists = new Map();
    this.#lists.set(text, ports);
    return ports;
  }

  #tell(identities: readonly IdentityId[]): void {
    const changes: { identity: IdentityId; ports: NamedPort[] }[] = [];
    for (const identity of new Set(identities)) {
      const found = new Map([...(this.#local.get(identity) ?? []), ...(this.#remote.get(identity) ?? [])]);
      const text = [...found.keys()].sort().join(',');
      if ((this.#told.get(identity)?.text ?? '') === text) continue;
      const ports = Array.from(found.values(), ({ port }) => port);
      if (text === '') this.#told.delete(identity);
      else this.#told.set(identity, { text, ports });
      changes.push({ identity, ports });
    }
    if (changes.length > 0) this.#policies.apply({ namedPorts: changes });
  }
}

/** Lists that are remembered to be shared. */
const LISTS = 4_096;

const portText = ({ name, protocol, port }: NamedPort): string => `${name} ${protocol} ${port}`;

function count(all: Map<IdentityId, Counted>, { identity, namedPorts }: IdentityPorts, by: 1 | -1): void {
  for (const port of namedPorts) {
    const ports: Counted = all.get(identity) ?? new Map<string, { port: NamedPort; count: number }>();
    const key = portText(port);
    const next = (ports.get(key)?.count ?? 0) + by;
    if (next > 0) ports.set(key, { port, count: next });
    else ports.delete(key);
    if (ports.size > 0) all.set(identity, ports);
    else all.delete(identity);
  }
}
