import type { IdentityId } from '../model/identity.ts';
import type { NamedPort, PolicyEngine } from '../policy/contract.ts';
import type { Endpoint } from './endpoint.ts';
import type { PodDirectory } from './pod-directory.ts';

/** Tells the engine which ports the endpoints of an identity call by name, together (S35). */
export class NamedPortIndex {
  readonly #policies: PolicyEngine;
  readonly #pods: PodDirectory;
  /** What the engine was told last. */
  readonly #told = new Map<IdentityId, string>();

  constructor(policies: PolicyEngine, pods: PodDirectory) {
    this.#policies = policies;
    this.#pods = pods;
  }

  portsOf({ attachment: { namespace, podName } }: Endpoint): readonly NamedPort[] {
    return podName === '' ? [] : (this.#pods.pod(namespace, podName)?.namedPorts ?? []);
  }

  /** Looks again at all endpoints and tells what changed. */
  update(endpoints: readonly Endpoint[]): void {
    const wanted = new Map<IdentityId, Map<string, NamedPort>>();
    for (const endpoint of endpoints) {
      if (endpoint.identity === undefined || endpoint.isLeaving) continue;
      for (const named of this.portsOf(endpoint)) {
        const ports = wanted.get(endpoint.identity.id) ?? new Map<string, NamedPort>();
        wanted.set(endpoint.identity.id, ports);
        ports.set(`${named.name} ${named.protocol} ${named.port}`, named);
      }
    }
    const changes: { identity: IdentityId; ports: NamedPort[] }[] = [];
    for (const identity of new Set([...wanted.keys(), ...this.#told.keys()])) {
      const ports = wanted.get(identity);
      const text = [...(ports?.keys() ?? [])].sort().join(',');
      if ((this.#told.get(identity) ?? '') === text) continue;
      if (text === '') this.#told.delete(identity);
      else this.#told.set(identity, text);
      changes.push({ identity, ports: [...(ports?.values() ?? [])] });
    }
    if (changes.length > 0) this.#policies.apply({ namedPorts: changes });
  }
}
