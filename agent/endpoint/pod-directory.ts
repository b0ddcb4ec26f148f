import type { PodFacts } from '../identity/pod-labels.ts';
import type { NamedPort } from '../policy/contract.ts';

/** What a Pod object says about its endpoint. */
export interface PodView {
  readonly labels: Readonly<Record<string, string>>;
  /** Empty when unknown. */
  readonly serviceAccount: string;
  readonly namedPorts: readonly NamedPort[];
}

/** A pod with what its namespace adds. */
export interface PodRecord extends PodFacts {
  readonly namedPorts: readonly NamedPort[];
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

  constructor(onChange: (change: PodChange) => void) {
    this.#onChange = onChange;
  }

  /** Undefined takes the pod away. */
  setPod(namespace: string, name: string, pod: PodView | undefined): void {
    const key = podKey(namespace, name);
    if (pod === undefined) this.#pods.delete(key);
    else this.#pods.set(key, pod);
    this.#onChange({ namespace, name });
  }

  /** Undefined takes the namespace away; its pods then have no namespace labels but its name. */
  setNamespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    if (labels === undefined) this.#namespaces.delete(name);
    else this.#namespaces.set(name, labels);
    this.#onChange({ namespace: name, name: undefined });
  }

  /** Undefined while there is no such Pod object. */
  pod(namespace: string, name: string): PodRecord | undefined {
    const entry = this.#pods.get(podKey(namespace, name));
    return entry && { namespace, namespaceLabels: this.namespaceLabels(namespace), ...entry };
  }

  /** Labels of a namespace, with the one that every API server adds. */
  namespaceLabels(namespace: string): Readonly<Record<string, string>> {
    return { ...this.#namespaces.get(namespace), 'kubernetes.io/metadata.name': namespace };
  }
}

const podKey = (namespace: string, name: string): string => `${namespace}/${name}`;
