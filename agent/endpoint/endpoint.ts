import { createHash } from 'node:crypto';
import { addressesOf, type Addressing } from '../ipam/ipam.ts';
import type { Address } from '../model/address.ts';
import { NO_LIMITS, type BandwidthLimits } from '../model/bandwidth.ts';
import type { Clock } from '../model/clock.ts';
import type { EndpointLink } from '../model/datapath.ts';
import { HOST_ENDPOINT_ID, type EndpointId, type EndpointState } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { Identity } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';
import type { EndpointPolicy } from '../policy/contract.ts';
import { PendingPolicy } from './pending-policy.ts';
import { isLeaving, mayFollow } from './state.ts';
import { StatusLog } from './status-log.ts';

/** What the runtime attached, and for whom. */
export interface Attachment {
  readonly containerId: string;
  /** Name of the interface inside the container. */
  readonly containerIfName: string;
  readonly containerName?: string;
  /** Path of the network namespace. */
  readonly netns: string;
  /** Empty when the workload is not a pod. */
  readonly namespace: string;
  readonly podName: string;
  readonly podUid?: string;
}

/** Labels by where they come from; `identity` and `information` are the outcome (S3, S4). */
export interface EndpointLabels {
  /** From the Pod object, the request, or neither; `node` for the node itself, `health` for its health endpoint. */
  readonly origin: 'pod' | 'request' | 'init' | 'node' | 'health';
  /** All that the orchestrator says. */
  readonly derived: readonly Label[];
  /** Added through the API. */
  readonly user: readonly Label[];
  readonly identity: readonly Label[];
  readonly information: readonly Label[];
}

/** Switches of one endpoint that may be turned while it lives. */
export interface EndpointOptions {
  /** Deliver and report what policy would have dropped. */
  readonly auditMode: boolean;
}

/** What is in force in the kernel. */
export interface Realized {
  readonly identity: Identity;
  readonly revision: number;
  readonly enforced: EndpointPolicy['enforced'];
  readonly defaultDeny: EndpointPolicy['defaultDeny'];
  readonly auditMode: boolean;
}

/** What was in force before, and until when, in milliseconds since the epoch. */
export interface Replaced {
  readonly defaultDeny: Realized['defaultDeny'];
  readonly until: number;
}

/** One interface of one container, from ADD to DEL. */
export class Endpoint {
  readonly id: EndpointId;
  readonly attachment: Attachment;
  readonly addressing: Addressing;
  readonly mtu: number;
  readonly createdAt: number;
  readonly log = new StatusLog();
  readonly pending = new PendingPolicy();
  readonly #clock: Clock;
  #state: EndpointState;
  labels: EndpointLabels;
  options: EndpointOptions = { auditMode: false };
  /** Undefined until the pair stands. */
  link: EndpointLink | undefined;
  /** The identity that policy is computed for; undefined until it has one. */
  identity: Identity | undefined;
  policy: EndpointPolicy | undefined;
  /** What the kernel holds it to. */
  bandwidth: BandwidthLimits = NO_LIMITS;
  /** What is wrong with the limits that its pod asks for, as it was told last. */
  bandwidthFault = '';
  #realized: Realized | undefined;
  #replaced: Replaced | undefined;
  #inheritedUntil: number;
  /** Its programs are to be loaded again, whatever else. */
  rebuild = false;
  /** What the proxies know of it may be out of date. */
  staleRedirects = true;
  /** Failed attempts in a row to bring it up to date. */
  failures = 0;
  #kernel: Promise<unknown> = Promise.resolve();

  constructor(init: {
    readonly id: EndpointId;
    readonly attachment: Attachment;
    readonly addressing: Addressing;
    readonly mtu: number;
    readonly labels: EndpointLabels;
    readonly state: 'waiting-for-identity' | 'restoring';
    readonly clock: Clock;
    readonly createdAt?: number;
  }) {
    this.id = init.id;
    this.attachment = init.attachment;
    this.addressing = init.addressing;
    this.mtu = init.mtu;
    this.labels = init.labels;
    this.#clock = init.clock;
    this.createdAt = init.createdAt ?? init.clock.now();
    this.#state = init.state;
    this.#inheritedUntil = init.state === 'restoring' || this.isHost ? Infinity : 0;
    this.note(init.state === 'restoring' ? 'found in the state directory' : 'created');
  }

  get realized(): Realized | undefined {
    return this.#realized;
  }

  /** The kernel's events may still speak of it. */
  get replaced(): Replaced | undefined {
    return this.#replaced;
  }

  /**
   * Until when, in milliseconds since the epoch, the kernel had what an agent before this one put there: its numbers for
   * rules mean nothing here.
   */
  get inheritedUntil(): number {
    return this.#inheritedUntil;
  }

  /** The kernel has it now. */
  realize(now: Realized): void {
    if (this.#realized === undefined && this.#inheritedUntil > 0) this.#inheritedUntil = this.#clock.now();
    const before = this.#realized?.defaultDeny;
    const { ingress, egress } = now.defaultDeny;
    if (before !== undefined && (before.ingress !== ingress || before.egress !== egress)) {
      this.#replaced = { defaultDeny: before, until: this.#clock.now() };
    }
    this.#realized = now;
  }

  get state(): EndpointState {
    return this.#state;
  }

  /** Key of the attachment, unique among living endpoints. */
  get key(): string {
    return attachmentKey(this.attachment);
  }

  get addresses(): Address[] {
    return addressesOf(this.addressing);
  }

  get isLeaving(): boolean {
    return isLeaving(this.#state);
  }

  /** Whether it is the node itself. */
  get isHost(): boolean {
    return this.id === HOST_ENDPOINT_ID;
  }

  /** Whether it is what other nodes probe the way to this node's pods with. */
  get isHealth(): boolean {
    return this.labels.origin === 'health';
  }

  /** Whether it is of the agent's own making: no runtime asked for it, and it lasts no longer than the agent. */
  get isOwn(): boolean {
    return this.isHost || this.isHealth;
  }

  /** `namespace/name`, when the workload is a pod. */
  get podName(): string | undefined {
    const { namespace, podName } = this.attachment;
    return podName === '' ? undefined : `${namespace}/${podName}`;
  }

  /** As errors and logs name it. */
  get title(): string {
    const name = this.isHost ? 'the node' : this.isHealth ? 'health' : this.podName;
    return `endpoint ${this.id}${name === undefined ? '' : ` (${name})`}`;
  }

  /**
   * Moves to `state` and says why.
   *
   * @throws WeirError ENDPOINT_STATE when it may not follow the present state.
   */
  become(state: EndpointState, message: string, code: 'ok' | 'failed' = 'ok'): void {
    if (!mayFollow(this.#state, state)) {
      throw new WeirError('ENDPOINT_STATE', `cannot go from ${this.#state} to ${state}`, { object: this.title });
    }
    this.#state = state;
    this.note(message, code);
  }

  /**
   * Runs `work` when nobody else writes to the kernel on the endpoint's behalf. It must not wait for another endpoint.
   */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#kernel.then(work);
    // Whoever asked has the rejection.
    this.#kernel = run.catch(() => undefined);
    return run;
  }

  /** Logs something that does not change the state. */
  note(message: string, code: 'ok' | 'failed' = 'ok'): void {
    this.log.add({ time: this.#clock.now(), code, message, state: this.#state });
  }
}

/** `<containerID>:<ifname>`, as the id prefix `cni-attachment-id` has it. */
export function attachmentKey(attachment: Pick<Attachment, 'containerId' | 'containerIfName'>): string {
  return `${attachment.containerId}:${attachment.containerIfName}`;
}

/**
 * Name of the host end: a function of the attachment, so that a second ADD meets the link of the first one. 40 bits keep
 * it below IFNAMSIZ.
 */
export function hostInterfaceName(key: string): string {
  return `wr${createHash('sha256').update(key).digest('hex').slice(0, 10)}`;
}
