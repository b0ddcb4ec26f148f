import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EndpointLink } from '../model/datapath.ts';
import { HOST_ENDPOINT_ID } from '../model/endpoint.ts';
import { errorText, WeirError } from '../model/errors.ts';
import type { IdentityId } from '../model/identity.ts';
import { labelSetKey, type Label } from '../model/labels.ts';
import { backoffDelay, DEFAULT_BACKOFF } from '../reconcile/backoff.ts';
import { applyBandwidth } from './bandwidth.ts';
import { createEndpoint, type CreateRequest } from './create.ts';
import { attachmentKey, type Endpoint, type EndpointLabels, type EndpointOptions } from './endpoint.ts';
import { refreshedLabels } from './endpoint-labels.ts';
import { applyPolicy, changeIdentity, install, type EnforceHooks } from './enforce.ts';
import type { EndpointEnvironment } from './environment.ts';
import { hostEndpoint, hostLabels } from './host.ts';
import { NamedPortIndex, type IdentityPorts } from './named-ports.ts';
import type { PodChange } from './pod-directory.ts';
import { recordOf } from './record.ts';
import { removeEndpoint } from './remove.ts';
import { restoreEndpoints, type RestoreReport } from './restore.ts';
import { KeyedSerial } from './serial.ts';
import { mayFollow } from './state.ts';
import { EndpointIndex } from './table.ts';

/** All endpoints of the node, from ADD to DEL. Operations on one attachment run one after the other. */
export class EndpointManager {
  readonly index = new EndpointIndex();
  readonly #environment: EndpointEnvironment;
  readonly #serial = new KeyedSerial();
  readonly #namedPorts: NamedPortIndex;
  readonly #hooks: EnforceHooks = {
    policyChanged: (endpoint) => this.#inBackground(this.#schedule(endpoint, 'policy changed')),
    settlePolicies: (except) => this.settlePolicies(except),
  };
  /** Regenerations that wait for their turn. */
  readonly #due = new Map<Endpoint, Promise<void>>();
  readonly #retries = new Map<Endpoint, () => void>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Policies are known, so that enforcement may follow them. */
  #active = false;

  constructor(environment: EndpointEnvironment) {
    this.#environment = environment;
    this.#namedPorts = new NamedPortIndex(environment.policies, environment.labels.pods);
  }

  /**
   * Makes an endpoint that is enforced when this resolves. A stale endpoint of the same attachment goes first: runtimes
   * try an ADD again whose answer they lost.
   *
   * @throws WeirError; nothing is left behind then.
   */
  create(request: CreateRequest): Promise<Endpoint> {
    return this.#serial.run(attachmentKey(request.attachment), async () => {
      const stale = this.index.byKey(attachmentKey(request.attachment));
      if (stale !== undefined) await this.#remove(stale);
      const endpoint = await createEndpoint(this.#environment, this.index, this.index.nextId(), request, this.#hooks);
      this.#namedPorts.update(this.index.list());
      return endpoint;
    });
  }

  /**
   * Makes the node itself an endpoint; resolves when it is enforced, or will be tried again.
   *
   * @param link the node's own device
   */
  async enterHost(link: EndpointLink, labels: readonly Label[]): Promise<void> {
    const host = hostEndpoint(this.#environment, link, labels);
    this.index.add(host);
    await this.#schedule(host, 'the node is an endpoint').catch(() => undefined);
  }

  /** The labels of the node have changed. */
  setHostLabels(labels: readonly Label[]): void {
    const host = this.index.byId(HOST_ENDPOINT_ID);
    if (host !== undefined) this.#inBackground(this.#relabel(host, hostLabels(labels), 'labels of the node changed'));
  }

  /**
   * @throws ENDPOINT_INVALID for an endpoint of the agent's own; what the kernel answered: the endpoint then stays,
   *   `disconnecting`, and can be removed again
   */
  async remove(endpoint: Endpoint): Promise<void> {
    refuseOwn(endpoint, REMOVE_REMEDY);
    await this.#serial.run(endpoint.key, async () => {
      // Whoever was first in the queue has removed it.
      if (this.index.byId(endpoint.id) === endpoint) await this.#remove(endpoint);
    });
  }

  /**
   * Removes what stands at an attachment when its turn comes: also an endpoint that an ADD asked for before is still making.
   *
   * @returns false when there is none.
   */
  removeAt(key: string): Promise<boolean> {
    return this.#serial.run(key, async () => {
      const endpoint = this.index.byKey(key);
      if (endpoint !== undefined) await this.#remove(endpoint);
      return endpoint !== undefined;
    });
  }

  /** Brings the endpoint up to date, programs included, though nothing may have changed. */
  async regenerate(endpoint: Endpoint, reason: string): Promise<void> {
    endpoint.rebuild = true;
    await this.#schedule(endpoint, reason);
  }

  /** Labels in addition to the orchestrator's; resolves when the endpoint is enforced under them. */
  async setUserLabels(endpoint: Endpoint, user: readonly Label[]): Promise<void> {
    refuseOwn(endpoint, LABEL_REMEDY);
    const { labels, attachment } = endpoint;
    const next = refreshedLabels(this.#environment.labels, attachment, labels, user);
    await this.#relabel(endpoint, next, 'user labels changed');
  }

  /** Resolves when the endpoint behaves so. */
  async setOptions(endpoint: Endpoint, options: Partial<EndpointOptions>): Promise<void> {
    endpoint.options = { ...endpoint.options, ...options };
    await this.#schedule(endpoint, 'options changed');
  }

  /** Labels, ports or limits of a pod, or labels of a namespace, may have changed. */
  podChanged(change: PodChange): void {
    const concerned = this.index.list().filter(({ attachment: { namespace, podName } }) => {
      return podName !== '' && namespace === change.namespace && (change.name === undefined || podName === change.name);
    });
    if (concerned.length === 0 || !this.#active) return;
    for (const endpoint of concerned) {
      const labels = refreshedLabels(this.#environment.labels, endpoint.attachment, endpoint.labels);
      this.#inBackground(this.#relabel(endpoint, labels, 'labels of the pod changed'));
      endpoint.policy?.update({ namedPorts: this.#namedPorts.portsOf(endpoint) });
      void this.#limit(endpoint);
    }
    this.#namedPorts.update(this.index.list());
  }

  /** Ports by name of the endpoints of other nodes that `owner` announces; what it said before is void. */
  announcePorts(owner: string, endpoints: readonly IdentityPorts[]): void {
    this.#namedPorts.announce(owner, endpoints);
  }

  /** Numbers of label sets may have changed: endpoints whose identity has another number now get that one. */
  identitiesRenumbered(): void {
    if (!this.#active) return;
    for (const endpoint of this.index.list()) {
      if (endpoint.identity === undefined || this.#environment.identities.isCurrent(endpoint.identity)) continue;
      this.#inBackground(this.#schedule(endpoint, 'its labels have another number in the cluster'));
    }
  }

  /** Takes up what the last run left; enforcement stays as it is in the kernel until {@link activate}. */
  restore(): Promise<RestoreReport> {
    return restoreEndpoints(this.#environment, this.index);
  }

  /**
   * Policies are known from here on: brings every restored endpoint under them, by atomic replacement, then takes away
   * what the kernel holds for endpoints that nobody knows.
   */
  async activate(): Promise<void> {
    this.#active = true;
    const restoring = this.index.list().filter((endpoint) => endpoint.state === 'restoring');
    // One that fails is tried again; it must not keep the agent from its other duties.
    await Promise.allSettled(
      restoring.map((endpoint) => {
        endpoint.labels = refreshedLabels(this.#environment.labels, endpoint.attachment, endpoint.labels);
        void this.#limit(endpoint);
        return this.#schedule(endpoint, 'restored');
      }),
    );
    this.#namedPorts.update(this.index.list());
    await this.#environment.datapath.prune(new Set(this.index.list().map(({ id }) => id)));
  }

  /**
   * Resolves when the policy map of every endpoint holds what its policy says now. One that cannot be brought there is
   * tried again by its own regeneration, and does not hold up whoever waits.
   */
  async settlePolicies(except?: Endpoint): Promise<void> {
    // What is not installed yet gets its whole policy when it is.
    const others = this.index.list().filter((endpoint) => endpoint !== except && endpoint.realized !== undefined);
    await Promise.allSettled(
      others.map(async (endpoint) => {
        if (!endpoint.isLeaving && endpoint.policy !== undefined) await applyPolicy(this.#environment, endpoint);
      }),
    );
  }

  /** Identities of this node's endpoints that have a port of this name (S35). */
  portsByName(name: string, protocol: number): Iterable<{ readonly identity: IdentityId; readonly port: number }> {
    return this.#namedPorts.withName(name, protocol);
  }

  /** A proxy listens on another port than before, or for the first time. */
  proxyPortsChanged(): void {
    for (const { policy } of this.index.list()) policy?.update({ proxyPorts: true });
  }

  /** Resolves when everything asked for so far has ended. */
  idle(): Promise<void> {
    return this.#serial.idle();
  }

  async #remove(endpoint: Endpoint): Promise<void> {
    this.#retries.get(endpoint)?.();
    this.#retries.delete(endpoint);
    await removeEndpoint(this.#environment, endpoint);
    this.index.delete(endpoint);
    this.#namedPorts.update(this.index.list());
  }

  async #relabel(endpoint: Endpoint, labels: EndpointLabels, reason: string): Promise<void> {
    const before = endpoint.labels;
    endpoint.labels = labels;
    if (labelSetKey(before.identity) !== labelSetKey(labels.identity)) await this.#schedule(endpoint, reason);
    else if (JSON.stringify(before) !== JSON.stringify(labels)) {
      await this.#serial.run(endpoint.key, async () => {
        const { link, identity } = endpoint;
        if (endpoint.isLeaving || endpoint.isOwn || link === undefined || identity === undefined) return;
        await this.#environment.store.save(recordOf(endpoint, link, identity));
      });
    }
  }

  /** Brings the endpoint to the limits of its pod. One that cannot be has those that it had. */
  async #limit(endpoint: Endpoint): Promise<void> {
    try {
      await applyBandwidth(this.#environment, endpoint);
    } catch (error) {
      endpoint.note(errorText(error), 'failed');
      this.#environment.report(endpoint, 'its bandwidth limits cannot be changed, those before stay', error);
    }
  }

  /** One regeneration serves everybody who asked for one before it started. */
  #schedule(endpoint: Endpoint, reason: string): Promise<void> {
    const due = this.#due.get(endpoint);
    if (due !== undefined) return due;
    if (endpoint.isLeaving) return Promise.resolve();
    if (endpoint.state !== 'restoring' && mayFollow(endpoint.state, 'waiting-to-regenerate')) {
      endpoint.become('waiting-to-regenerate', reason);
    }
    const run = this.#serial.run(endpoint.key, async () => {
      // Many endpoints follow one policy: each takes a turn of the event loop of its own.
      this.#turn = this.#turn.then(() => nextTurn());
      await this.#turn;
      this.#due.delete(endpoint);
      if (!endpoint.isLeaving) await this.#regenerate(endpoint, reason);
    });
    this.#due.set(endpoint, run);
    return run;
  }

  async #regenerate(endpoint: Endpoint, reason: string): Promise<void> {
    this.#retries.get(endpoint)?.();
    this.#retries.delete(endpoint);
    const { clock, regenerated } = this.#environment;
    const start = clock.now();
    try {
      await this.#bringUpToDate(endpoint, reason);
      regenerated?.('success', clock.now() - start);
      endpoint.failures = 0;
      // Somebody may have asked for the next one already.
      if (endpoint.state === 'regenerating') endpoint.become('ready', 'enforced');
    } catch (error) {
      regenerated?.('fail', clock.now() - start);
      endpoint.failures++;
      endpoint.become('not-ready', errorText(error), 'failed');
      this.#environment.report(endpoint, 'cannot be brought up to date, what was in force stays', error);
      const delay = backoffDelay(endpoint.failures, DEFAULT_BACKOFF, Math.random());
      const cancel = this.#environment.clock.after(delay, () => {
        this.#inBackground(this.#schedule(endpoint, 'another attempt'));
      });
      this.#retries.set(endpoint, cancel);
      throw error;
    }
  }

  async #bringUpToDate(endpoint: Endpoint, reason: string): Promise<void> {
    const { identity, policy, labels, realized, options } = endpoint;
    if (
      identity === undefined ||
      policy === undefined ||
      labelSetKey(identity.labels) !== labelSetKey(labels.identity) ||
      !this.#environment.identities.isCurrent(identity)
    ) {
      endpoint.become('waiting-for-identity', reason);
      endpoint.become('waiting-to-regenerate', 'labels are known');
      endpoint.become('regenerating', 'identity and programs');
      await changeIdentity(this.#environment, endpoint, this.#hooks);
      this.#namedPorts.update(this.index.list());
      return;
    }
    if (endpoint.state !== 'regenerating') endpoint.become('regenerating', reason);
    if (endpoint.rebuild || realized?.auditMode !== options.auditMode) await install(this.#environment, endpoint);
    else await applyPolicy(this.#environment, endpoint);
  }

  /** The fault is in the log of the endpoint and has been reported; nobody waits for this one. */
  #inBackground(work: Promise<void>): void {
    work.catch(() => undefined);
  }
}

const REMOVE_REMEDY = {
  host: 'start the agent without --enable-host-firewall',
  health: 'start the agent with --enable-endpoint-health-checking false',
} as const;
const LABEL_REMEDY = {
  host: 'label the Node object',
  health: 'its labels are reserved:health, and no others',
} as const;

/** What the agent made for itself is not for others to change. */
function refuseOwn({ isOwn, isHost, title }: Endpoint, remedies: Readonly<Record<'host' | 'health', string>>): void {
  if (!isOwn) return;
  const [message, remedy] = isHost ? ['is the node itself', remedies.host] : ["is the agent's own", remedies.health];
  throw new WeirError('ENDPOINT_INVALID', message, { object: title, remedy });
}
