/** Subresources that are more than a part of their object: scale, binding, eviction, tokens; and reviews, which store nothing. */
import { isObject, listAt, textAt, timestamp, valueAt, type Json, type KubeObject } from './object.ts';
import type { Rbac } from './rbac.ts';
import type { ResourceType } from './resource-type.ts';
import type { Rest, WriteOptions } from './rest.ts';
import { badRequest, conflict } from './status.ts';
import type { User, Users } from './users.ts';

export function scaleOf(type: ResourceType, object: KubeObject): Json {
  const { scale } = type.subresources;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = valueAt(object, scale?.selector ?? []);
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: valueAt(object, scale!.spec) ?? 0 },
    status: { replicas: valueAt(object, scale!.status) ?? 0, selector: selectorText(selector) },
  };
}

function selectorText(selector: unknown): string {
  if (typeof selector === 'string') return selector;
  const labels = valueAt(selector, ['matchLabels']);
  return isObject(labels)
    ? Object.entries(labels)
        .map(([key, value]) => `${key}=${String(value)}`)
        .join(',')
    : '';
}

/** Writes the replicas of a Scale into its object. */
export function rescaled(type: ResourceType, object: KubeObject, scale: unknown): KubeObject {
  const replicas = valueAt(scale, ['spec', 'replicas']);
  if (typeof replicas !== 'number' || replicas < 0)
    throw badRequest('Scale.spec.replicas must be a number that is not negative');
  const version = textAt(scale, 'metadata', 'resourceVersion');
  if (version !== '' && version !== object.metadata.resourceVersion)
    throw conflict(type, object.metadata.name, 'the object has been modified');
  const copy = structuredClone(object);
  const path = type.subresources.scale!.spec;
  let parent: Json = copy;
  for (const field of path.slice(0, -1)) parent = (parent[field] ??= {}) as Json;
  parent[path.at(-1)!] = replicas;
  return copy;
}

/** Binds a pod to a node, as a scheduler does. */
export function bindPod(type: ResourceType, rest: Rest, pod: KubeObject, binding: unknown): void {
  const nodeName = textAt(binding, 'target', 'name');
  if (nodeName === '') throw badRequest('Binding.target.name: Required value');
  const bound = textAt(pod, 'spec', 'nodeName');
  if (bound !== '')
    throw conflict(type, pod.metadata.name, `pod ${pod.metadata.name} is already assigned to node "${bound}"`);
  const conditions = listAt(pod, 'status', 'conditions').filter(
    (condition) => textAt(condition, 'type') !== 'PodScheduled',
  );
  rest.put(type, {
    ...pod,
    spec: { ...(pod['spec'] as object), nodeName },
    status: {
      ...(pod['status'] as object),
      conditions: [
        ...conditions,
        { type: 'PodScheduled', status: 'True', lastProbeTime: null, lastTransitionTime: timestamp() },
      ],
    },
  });
}

/** A token of a service account, as TokenRequest answers it. */
export function issueToken(users: Users, namespace: string, account: string, request: unknown): Json {
  const asked = valueAt(request, ['spec', 'expirationSeconds']);
  const seconds = typeof asked === 'number' ? asked : 3600;
  if (seconds < 600)
    throw badRequest('spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes');
  const given = valueAt(request, ['spec']);
  const spec = isObject(given) ? given : {};
  const token = users.issue(`system:serviceaccount:${namespace}:${account}`, { ttlMs: seconds * 1000 });
  return {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name: account, namespace, creationTimestamp: timestamp() },
    spec: {
      audiences: ['https://kubernetes.default.svc'],
      ...spec,
      expirationSeconds: seconds,
    },
    status: { token, expirationTimestamp: timestamp(Date.now() + seconds * 1000) },
  };
}

/** Answers a review, of access or of a token: nothing is stored. */
export function review(
  kind: string,
  body: unknown,
  user: User,
  rbac: Rbac,
  users: Users,
  _options: WriteOptions,
): Json {
  const answered = (status: Json): Json => ({ ...(isObject(body) ? body : {}), status });
  switch (kind) {
    case 'SelfSubjectReview':
      return answered({ userInfo: { username: user.name, groups: user.groups } });
    case 'TokenReview': {
      const found = users.lookup(textAt(body, 'spec', 'token'));
      if (found === undefined) return answered({ authenticated: false, error: 'invalid bearer token' });
      return answered({ authenticated: true, user: { username: found.name, groups: found.groups } });
    }
    case 'SelfSubjectRulesReview': {
      const rules = [...rbac.rulesOf(user, textAt(body, 'spec', 'namespace'))];
      const all = user.groups.includes('system:masters')
        ? [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }]
        : rules;
      return answered({
        incomplete: false,
        resourceRules: all.filter((rule) => listAt(rule, 'resources').length > 0),
        nonResourceRules: all.filter((rule) => listAt(rule, 'nonResourceURLs').length > 0),
      });
    }
    default:
      return answered({ allowed: rbac.allows(reviewed(kind, body, user), attributesOf(body)) });
  }
}

function reviewed(kind: string, body: unknown, user: User): User {
  if (kind === 'SelfSubjectAccessReview') return user;
  return { name: textAt(body, 'spec', 'user'), groups: listAt(body, 'spec', 'groups').map(String) };
}

function attributesOf(body: unknown): Parameters<Rbac['allows']>[1] {
  const resource = valueAt(body, ['spec', 'resourceAttributes']);
  const path = textAt(body, 'spec', 'nonResourceAttributes', 'path');
  return {
    verb: textAt(resource, 'verb') || textAt(body, 'spec', 'nonResourceAttributes', 'verb'),
    isResource: resource !== undefined,
    path,
    group: textAt(resource, 'group'),
    namespace: textAt(resource, 'namespace'),
    plural: textAt(resource, 'resource'),
    authorizedName: textAt(resource, 'name'),
    subresource: textAt(resource, 'subresource'),
  };
}
