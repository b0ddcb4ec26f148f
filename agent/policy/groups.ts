/** CIDR groups and services: what policies name that is no identity, brought down to labels and prefixes. */
import type { Address, Cidr } from '../model/address.ts';
import { canonicalLabels, type Label } from '../model/labels.ts';
import { LABEL } from '../model/labels.ts';
import type { CidrGroup, PolicyService } from './contract.ts';
import { covers, prefixOfLabel } from './prefix.ts';
import { groupNameKey, type DynamicPeer } from './selector.ts';
import { equals, labelTerm, meets, term, testOf, type Term } from './term.ts';

/** The CIDR groups, and the labels that they give to the identities in them. */
export class CidrGroups {
  readonly #groups = new Map<string, CidrGroup>();

  get cidrs(): readonly Cidr[] {
    return [...this.#groups.values()].flatMap((group) => group.cidrs);
  }

  set(name: string, group: CidrGroup | undefined): void {
    if (group === undefined) this.#groups.delete(name);
    else this.#groups.set(name, group);
  }

  /** An identity's labels with those of the groups that its prefixes lie in. */
  extend(labels: readonly Label[]): readonly Label[] {
    if (this.#groups.size === 0) return labels;
    const prefixes = labels.map(prefixOfLabel).filter((prefix) => prefix !== undefined);
    if (prefixes.length === 0) return labels;
    const found = [...this.#groups.values()].filter((group) =>
      group.cidrs.some((outer) => prefixes.some((inner) => covers(outer, inner))),
    );
    return found.length === 0 ? labels : canonicalLabels([...labels, ...found.flatMap(groupLabels)]);
  }
}

/** An identity may lie in groups that give one label different values, so that the value is part of the key. */
function groupLabels(group: CidrGroup): readonly Label[] {
  const source = 'cidrgroup';
  return [
    { source, key: groupNameKey(group.name), value: '' },
    ...group.labels.flatMap(({ key, value }) => [
      { source, key, value: '' },
      { source, key: `${key}+${value}`, value: '' },
    ]),
  ];
}

/** The services that `toServices` may name (S24). */
export class Services {
  readonly #services = new Map<string, PolicyService>();

  set(namespace: string, name: string, service: PolicyService | undefined): void {
    if (service === undefined) this.#services.delete(`${namespace}/${name}`);
    else this.#services.set(`${namespace}/${name}`, service);
  }

  /** Addresses that must have identities so that the peer can select them. */
  cidrs(peer: DynamicPeer): readonly Cidr[] {
    return this.terms(peer).flatMap((term) => term.cidrs);
  }

  /** What a service peer means now: the pods of services with a selector, the backends of those without. */
  terms({ service: wanted }: DynamicPeer): readonly Term[] {
    return [...this.#services.values()].filter((service) => serviceMatches(wanted, service)).flatMap(serviceTerms);
  }
}

function serviceMatches(wanted: DynamicPeer['service'], service: PolicyService): boolean {
  if (wanted.namespace !== '' && wanted.namespace !== service.namespace) return false;
  if ('name' in wanted) return wanted.name === service.name;
  return wanted.selector.requirements.every((requirement) => meets(service.labels, testOf(requirement)));
}

function serviceTerms(service: PolicyService): readonly Term[] {
  if (service.selector === undefined) {
    return service.backends.map((address) => term([], [hostPrefix(address)]));
  }
  const pods = labelTerm(service.selector.requirements);
  return [term([...pods.tests, equals('k8s', LABEL.podNamespace, service.namespace)], pods.cidrs, pods.except)];
}

function hostPrefix(address: Address): Cidr {
  return { address, length: address.bytes.length * 8 };
}
