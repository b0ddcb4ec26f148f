/** RBAC: Roles and ClusterRoles, through their bindings. Nothing is allowed that no rule allows. */
import { listAt, textAt, type KubeObject } from './object.ts';
import { forbidden } from './status.ts';
import type { Store } from './store.ts';
import type { User } from './users.ts';

export const RBAC_GROUP = 'rbac.authorization.k8s.io';

export interface Attributes {
  readonly verb: string;
  readonly isResource: boolean;
  readonly path: string;
  readonly group: string;
  readonly namespace: string;
  readonly plural: string;
  readonly authorizedName: string;
  readonly subresource: string;
}

export class Rbac {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Throws Forbidden, in the words of a real server, unless a rule allows it. */
  authorize(user: User, request: Attributes): void {
    if (this.allows(user, request)) return;
    if (!request.isResource)
      throw forbidden(undefined, '', `User "${user.name}" cannot ${request.verb} path "${request.path}"`);
    const { group, plural, subresource, namespace } = request;
    const resource = subresource === '' ? plural : `${plural}/${subresource}`;
    const scope = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;
    throw forbidden(
      { group, plural, kind: plural },
      request.authorizedName,
      `User "${user.name}" cannot ${request.verb} resource "${resource}" in API group "${group}" ${scope}`,
    );
  }

  allows(user: User, request: Attributes): boolean {
    if (user.groups.includes('system:masters')) return true;
    for (const rule of this.rulesOf(user, request.namespace)) if (ruleAllows(rule, request)) return true;
    return false;
  }

  /** Rules that hold for a user in a namespace, those of the cluster included. */
  *rulesOf(user: User, namespace: string): Generator {
    for (const binding of this.#values('clusterrolebindings')) if (binds(binding, user)) yield* this.#rules(binding);
    if (namespace === '') return;
    for (const binding of this.#values('rolebindings'))
      if (binding.metadata.namespace === namespace && binds(binding, user)) yield* this.#rules(binding);
  }

  #values(plural: string): Iterable<KubeObject> {
    return this.#store.collection(`${RBAC_GROUP}/${plural}`).values();
  }

  #rules(binding: KubeObject): readonly unknown[] {
    const name = textAt(binding, 'roleRef', 'name');
    const clusterRole = textAt(binding, 'roleRef', 'kind') === 'ClusterRole';
    const role = clusterRole
      ? this.#store.collection(`${RBAC_GROUP}/clusterroles`).get(name)
      : this.#store.collection(`${RBAC_GROUP}/roles`).get(`${binding.metadata.namespace ?? ''}/${name}`);
    return listAt(role, 'rules');
  }
}

function binds(binding: KubeObject, user: User): boolean {
  return listAt(binding, 'subjects').some((subject) => {
    const name = textAt(subject, 'name');
    switch (textAt(subject, 'kind')) {
      case 'User':
        return name === user.name;
      case 'Group':
        return user.groups.includes(name);
      default:
        return user.name === `system:serviceaccount:${textAt(subject, 'namespace')}:${name}`;
    }
  });
}

function ruleAllows(rule: unknown, request: Attributes): boolean {
  const has = (field: string, value: string): boolean => {
    const list = listAt(rule, field);
    return list.includes('*') || list.includes(value);
  };
  if (!has('verbs', request.verb)) return false;
  if (!request.isResource) {
    return listAt(rule, 'nonResourceURLs').some(
      (url) =>
        typeof url === 'string' &&
        (url.endsWith('*') ? request.path.startsWith(url.slice(0, -1)) : url === request.path),
    );
  }
  const { plural, subresource } = request;
  const resource = subresource === '' ? plural : `${plural}/${subresource}`;
  const names = listAt(rule, 'resourceNames');
  return (
    has('apiGroups', request.group) &&
    (has('resources', resource) || (subresource !== '' && listAt(rule, 'resources').includes(`*/${subresource}`))) &&
    (names.length === 0 || (request.authorizedName !== '' && names.includes(request.authorizedName)))
  );
}
