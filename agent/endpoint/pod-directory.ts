import type { PodFacts } from '../identity/pod-labels.ts';
import type { Clock } from '../model/clock.ts';
import type { HostPort } from '../model/service.ts';
import type { NamedPort } from '../policy/contract.ts';

/** What a Pod object says about its endpoint. */
export interface PodView {
  readonly labels: Readonly<Record<string, string>>;
  /** Empty when unknown. */
  readonly serviceAccount: string;
  readonly namedPorts: readonly NamedPort[];
  /** Ports of the node that lead to it; none when absent. */
  readonly hostPorts?: readonly HostPort[];
  /** Quantities of bits a second, as the pod's annotations have them; no limit where absent. */
  readonly bandwidth?: PodBandwidth;
  /** By which runtimes may call the pod: its uid, or that of the file it was made from. Absent when it is not known. */
  readonly uids?: readonly string[];
}

/** Limits that a pod asks for, not yet read. */
export interface PodBandwidth {
  readonly ingress?: string;
  readonly egress?: string;
}

/** A pod with what its namespace adds. */
export interface PodRecord extends PodFacts {
  readonly namedPorts: readonly NamedPort[];
  readonly hostPorts?: readonly HostPort[];
  readonly bandwidth?: PodBandwidth;
  readonly uids?: readonly string[];
}

/** Which endpoints have to look again: one pod's, or all of a namespace. */
export interface PodChange {
  readonly namespace: string;
  /** Undefined: every pod of the namespace. */
  readonly name: string | undefined;
}

/** Pods and namespaces as the cluster has them, for what endpoints need to know of them. */
export class PodDirectory {
  readonly #pods = new Map<string, PodView>();
  readonly #namespaces = new Map<string, Readonly<Record<string, string>>>();
  readonly #onChange: (change: PodChange) => void;
  /** Those who wait for something to become known. */
  readonly #waiting = new Set<() => void>();

  constructor(onChange: (change: PodChange) => void) {
    this.#onChange = onChange;
  }

  /** Undefined takes the pod away. */
  setPod(namespace: string, name: string, pod: PodView | undefined): void {
    const key = podKey(namespace, name);
    if (pod === undefined) this.#pods.delete(key);
    else this.#pods.set(key, pod);
    this.#changed({ namespace, name });
  }

  /** Undefined takes the namespace away; its pods then have no namespace labels but its name. */
  setNamespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    if (labels === undefined) this.#namespaces.delete(name);
    else this.#namespaces.set(name, labels);
    this.#changed({ namespace: name, name: undefined });
  }

  /**
   * Undefined while there is no such Pod object.
   *
   * @param uid what the runtime calls it: one of the same name that was there before does not count
   */
  pod(namespace: string, name: string, uid?: string): PodRecord | undefined {
    const entry = this.#pods.get(podKey(namespace, name));
    if (entry === undefined) return undefined;
    if (uid !== undefined && entry.uids !== undefined && !entry.uids.includes(uid)) return undefined;
    return { namespace, namespaceLabels: this.namespaceLabels(namespace), ...entry };
  }

  /** Whether the labels of a namespace are known. */
  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name);
  }

  /** Resolves when `known` holds, or after `ms` milliseconds; it is asked whenever something changes. */
  async until(known: () => boolean, clock: Clock, ms: number): Promise<void> {
    if (known() || ms <= 0) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#waiting.delete(look);
        cancel();
        resolve();
      };
      const look = (): void => {
        if (known()) done();
      };
      const cancel = clock.after(ms, done);
      this.#waiting.add(look);
    });
  }

  #changed(change: PodChange): void {
    this.#onChange(change);
    for (const look of [...this.#waiting]) look();
  }

  /** Labels of a namespace, with the one that every API server adds. */
  namespaceLabels(namespace: string): Readonly<Record<string, string>> {
    return { ...this.#namespaces.get(namespace), 'kubernetes.io/metadata.name': namespace };
  }
}

const podKey = (namespace: string, name: string): string => `${namespace}/${name}`;
