import { setImmediate as nextTurn } from 'node:timers/promises';
import { fullPrefix } from '../model/address.ts';
import { errorText, WeirError } from '../model/errors.ts';
import type { Identity } from '../model/identity.ts';
import type { MapStateView } from '../model/mapstate.ts';
import type { EndpointPolicy, NamedPort } from '../policy/contract.ts';
import type { Endpoint } from './endpoint.ts';
import { podOf } from './endpoint-labels.ts';
import type { EndpointEnvironment } from './environment.ts';
import { recordOf } from './record.ts';

/** How the others take part when an endpoint changes. */
export interface EnforceHooks {
  /** The policy of the endpoint has changed under it. */
  policyChanged(endpoint: Endpoint): void;
  /** Resolves when every other endpoint is enforced under the identities known now. */
  settlePolicies(except: Endpoint): Promise<void>;
}

/** An identity and its policy, about to be put in force. */
interface Subject {
  readonly identity: Identity;
  readonly policy: EndpointPolicy;
}

/**
 * Takes the identity of the endpoint's labels and starts to follow its policy. Whoever calls gives both back, to
 * {@link leaveSubject}, when they do not come into force.
 *
 * @throws WeirError IDENTITY_EXHAUSTED, STATE_WRITE_FAILED, POLICY_CONFLICT (S27); nothing is held then.
 */
async function enterSubject(
  environment: EndpointEnvironment,
  endpoint: Endpoint,
  hooks: EnforceHooks,
): Promise<Subject> {
  const identity = await environment.identities.acquire(endpoint.labels.identity);
  try {
    for (const _ of environment.policies.prepare(identity.id, portsOf(environment, endpoint))) await nextTurn();
    const policy = environment.policies.endpointPolicy({
      identity: identity.id,
      namedPorts: portsOf(environment, endpoint),
      proxyPort: (redirect) => environment.proxies.port(redirect),
      onChange: (changes, changed) => {
        if (endpoint.policy !== changed) return;
        endpoint.pending.add(changes);
        endpoint.staleRedirects = true;
        hooks.policyChanged(endpoint);
      },
    });
    return { identity, policy };
  } catch (error) {
    environment.identities.release(identity.id);
    throw error;
  }
}

function portsOf({ labels }: EndpointEnvironment, { attachment }: Endpoint): readonly NamedPort[] {
  return podOf(labels, attachment)?.namedPorts ?? [];
}

function leaveSubject(environment: EndpointEnvironment, { identity, policy }: Subject): void {
  policy.dispose();
  environment.identities.release(identity.id);
}

/**
 * Puts the endpoint under the identity of its labels: record, policy map, programs, ipcache. When this resolves, it is
 * enforced under it and the identity before, if any, is given back; when it rejects, what was in force still is.
 */
export async function changeIdentity(
  environment: EndpointEnvironment,
  endpoint: Endpoint,
  hooks: EnforceHooks,
): Promise<void> {
  const next = await enterSubject(environment, endpoint, hooks);
  const before = { identity: endpoint.identity, policy: endpoint.policy };
  // The pod runs: what it sends under the new identity must find it known, here and on other nodes.
  if (before.identity !== undefined) await letBeKnown(environment, endpoint, next, hooks);
  endpoint.identity = next.identity;
  endpoint.policy = next.policy;
  endpoint.staleRedirects = true;
  endpoint.pending.take();
  try {
    refuseConflict(endpoint, next.policy);
    await install(environment, endpoint);
    // Nobody may meet the new identity before everybody's policy knows it.
    await hooks.settlePolicies(endpoint);
    await applyPolicy(environment, endpoint);
  } catch (error) {
    endpoint.identity = before.identity;
    endpoint.policy = before.policy;
    endpoint.staleRedirects = true;
    endpoint.pending.invalidate();
    leaveSubject(environment, next);
    throw error;
  }
  publish(environment, endpoint, next.identity);
  before.policy?.dispose();
  if (before.identity !== undefined) environment.identities.release(before.identity.id);
  await environment.flushIpcache(endpoint.addresses.map(fullPrefix));
}

/** Waits until policies of this node know an identity, and those of others have had the time to. */
async function letBeKnown(
  environment: EndpointEnvironment,
  endpoint: Endpoint,
  subject: Subject,
  hooks: EnforceHooks,
): Promise<void> {
  const { identities, identityGraceMs, clock } = environment;
  try {
    const since = identities.since(subject.identity.id);
    const left = since === undefined ? 0 : since + identityGraceMs - clock.now();
    if (left > 0) await new Promise<void>((resolve) => clock.after(left, resolve));
    await hooks.settlePolicies(endpoint);
  } catch (error) {
    leaveSubject(environment, subject);
    throw error;
  }
}

/** Writes the record and puts programs and the whole policy map in force, as the endpoint is now. */
export function install(environment: EndpointEnvironment, endpoint: Endpoint): Promise<void> {
  return endpoint.exclusively(async () => {
    const { identity, policy, link } = demand(endpoint);
    const { revision, enforced, defaultDeny } = policy;
    const { auditMode } = endpoint.options;
    // The record first: a crash in between must leave a trail to what is in the kernel.
    if (!endpoint.isOwn) await environment.store.save(recordOf(endpoint, link, identity));
    tellProxies(environment, endpoint);
    await environment.datapath.install(
      { id: endpoint.id, identity: identity.id, link, ...endpoint.addressing, auditMode },
      wholePolicy(endpoint, policy),
    );
    endpoint.realize({ identity, revision, enforced, defaultDeny, auditMode });
    endpoint.rebuild = false;
  });
}

/**
 * Tells the kernel what its policy map does not know yet.
 *
 * @throws WeirError of the kernel; the next attempt then writes the whole map.
 */
export function applyPolicy(environment: EndpointEnvironment, endpoint: Endpoint): Promise<void> {
  return endpoint.exclusively(async () => {
    if (endpoint.isLeaving) return;
    const { identity, policy } = demand(endpoint);
    refuseConflict(endpoint, policy);
    const { revision, enforced, defaultDeny } = policy;
    const work = endpoint.pending.take();
    tellProxies(environment, endpoint);
    try {
      if (work.kind === 'changes') await environment.datapath.updatePolicy(endpoint.id, work.changes);
      if (work.kind === 'replace') await environment.datapath.replacePolicy(endpoint.id, wholePolicy(endpoint, policy));
    } catch (error) {
      endpoint.pending.invalidate();
      throw error;
    }
    const before = endpoint.realized?.enforced;
    endpoint.realize({ identity, revision, enforced, defaultDeny, auditMode: endpoint.options.auditMode });
    // It is part of what is announced.
    if (before !== undefined && (before.ingress !== enforced.ingress || before.egress !== enforced.egress))
      environment.announcer?.setEndpoint(endpoint);
  });
}

/**
 * The policy as it is when it is read. What was pending until then is part of it, and what comes later is a change of it:
 * changes must meet what they were told of.
 */
function wholePolicy(endpoint: Endpoint, { mapState }: EndpointPolicy): MapStateView {
  return {
    get size() {
      return mapState.size;
    },
    entries() {
      endpoint.pending.take();
      return mapState.entries();
    },
  };
}

/** Proxies go first: what is diverted to one that does not know the endpoint yet is lost. */
function tellProxies({ proxies }: EndpointEnvironment, endpoint: Endpoint): void {
  if (!endpoint.staleRedirects) return;
  endpoint.staleRedirects = false;
  proxies.follow(endpoint);
}

/** Lets the node, and other nodes, know who lives at the endpoint's addresses. */
export function publish(environment: EndpointEnvironment, endpoint: Endpoint, identity: Identity): void {
  const { namespace, podName } = endpoint.attachment;
  environment.ipcache.upsert(
    ...endpoint.addresses.map((address) => ({
      prefix: fullPrefix(address),
      identity: identity.id,
      source: 'local' as const,
      owner: ipcacheOwner(endpoint),
      ...(podName !== '' && { namespace, podName }),
    })),
  );
  environment.announcer?.setEndpoint(endpoint);
}

/** Takes back what {@link publish} said. */
export function unpublish(environment: EndpointEnvironment, endpoint: Endpoint): void {
  environment.ipcache.remove(
    ...endpoint.addresses.map((address) => ({
      prefix: fullPrefix(address),
      source: 'local' as const,
      owner: ipcacheOwner(endpoint),
    })),
  );
  environment.announcer?.removeEndpoint(endpoint);
}

/** Ends the following of identity and policy; what the kernel has stays there. */
export function forgetSubject(environment: EndpointEnvironment, endpoint: Endpoint): void {
  const { identity, policy } = endpoint;
  endpoint.identity = undefined;
  endpoint.policy = undefined;
  environment.proxies.forget(endpoint);
  policy?.dispose();
  if (identity !== undefined) environment.identities.release(identity.id);
}

function ipcacheOwner(endpoint: Endpoint): string {
  return `endpoint:${endpoint.id}`;
}

/** Rules that contradict each other are an error of the endpoint, not a silent choice (S27). */
function refuseConflict(endpoint: Endpoint, policy: EndpointPolicy): void {
  if (policy.error === undefined) return;
  throw new WeirError(policy.error.code, errorText(policy.error), { object: endpoint.title, cause: policy.error });
}

function demand({ title, identity, policy, link }: Endpoint) {
  if (identity !== undefined && policy !== undefined && link !== undefined) return { identity, policy, link };
  throw new WeirError('INTERNAL', 'has no link, identity or policy yet', { object: title });
}
