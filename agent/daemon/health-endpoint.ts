import type { AddressPair } from '../api/models.ts';
import { attachmentKey, type Attachment } from '../endpoint/endpoint.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import { addressesOf, type Addressing, type Ipam } from '../ipam/ipam.ts';
import type { AddressPool } from '../ipam/pool.ts';
import { parseAddress, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { errorText } from '../model/errors.ts';
import { backoffDelay, DEFAULT_BACKOFF } from '../reconcile/backoff.ts';
import { JsonFile } from '../state/json-file.ts';
import { addressPair } from './api/endpoint-model.ts';

/** A network namespace for the health endpoint; it ends with the agent, however that ends. */
export interface HealthNamespace extends Disposable {
  readonly path: string;
  /** Answers probes at these addresses, until the namespace ends. */
  respond(addresses: readonly Address[]): Promise<void>;
}

export interface HealthEndpointOptions {
  readonly manager: Pick<EndpointManager, 'create' | 'removeAt'>;
  readonly ipam: Ipam;
  readonly clock: Clock;
  readonly stateDir: string;
  readonly openNamespace: () => HealthNamespace;
  /** It has addresses, or others than before. */
  readonly onChange: () => void;
  readonly onError: (message: string, error: unknown) => void;
}

/** Whom the addresses belong to, as `weir status --verbose` shows it. */
const OWNER = 'health';

/**
 * An endpoint that stands for the pods of this node: with a link, programs and policy like theirs, and identity 4, so that
 * other nodes find out whether they could reach pods here. Nothing of it outlives the agent but its addresses, which the
 * next one gives it again: other nodes need not learn new ones.
 */
export class HealthEndpoint {
  readonly #options: HealthEndpointOptions;
  readonly #file: JsonFile<Texts>;
  #addressing: Addressing = {};
  #namespace: HealthNamespace | undefined;
  #failure: string | undefined;
  #failures = 0;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(options: HealthEndpointOptions) {
    this.#options = options;
    this.#file = new JsonFile(`${options.stateDir}/health.json`, decode);
  }

  /** None until it stands. */
  get addressing(): Addressing {
    return this.#addressing;
  }

  /** Why it does not stand, if something went wrong. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Makes it, now or later: resolves after the first attempt. What an earlier agent left must be gone. */
  async begin(): Promise<void> {
    const { clock, onError, onChange } = this.#options;
    try {
      await this.#make();
      this.#failure = undefined;
      onChange();
    } catch (error) {
      if (this.#stopped) return;
      if (this.#failure !== errorText(error)) onError('the health endpoint cannot be made, trying again', error);
      this.#failure = errorText(error);
      const delay = backoffDelay(++this.#failures, DEFAULT_BACKOFF, Math.random());
      this.#cancel = clock.after(delay, () => void this.begin());
    }
  }

  /** Its namespace, and its link with it, ends. */
  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#namespace?.[Symbol.dispose]();
  }

  async #make(): Promise<void> {
    const { manager, openNamespace, ipam } = this.#options;
    await using undo = new AsyncDisposableStack();
    const addressing = await this.#claim();
    undo.defer(() => addressesOf(addressing).forEach((address) => ipam.release(address)));
    const namespace = undo.use(openNamespace());
    const attachment: Attachment = {
      ...{ containerId: '', containerIfName: 'eth0', netns: namespace.path, namespace: '', podName: '' },
    };
    await manager.create({ attachment, addressing, health: true });
    undo.defer(async () => {
      await manager.removeAt(attachmentKey(attachment));
    });
    await namespace.respond(addressesOf(addressing));
    await this.#file.write(addressPair(addressing));
    if (this.#stopped) return;
    undo.move();
    this.#namespace = namespace;
    this.#addressing = addressing;
  }

  /** The addresses of the last run, where they are still free. */
  async #claim(): Promise<Addressing> {
    const { ipam, clock, onError } = this.#options;
    const outcome = await this.#file.read(clock.now());
    if (outcome.kind === 'corrupt') onError('the health endpoint gets new addresses', outcome.error);
    const last = outcome.kind === 'value' ? read(outcome.value) : {};
    const ipv4 = ipam.ipv4 && claimFrom(ipam.ipv4, last.ipv4);
    try {
      const ipv6 = ipam.ipv6 && claimFrom(ipam.ipv6, last.ipv6);
      return { ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) };
    } catch (error) {
      if (ipv4 !== undefined) ipam.release(ipv4);
      throw error;
    }
  }
}

function claimFrom(pool: AddressPool, wanted: Address | undefined): Address {
  if (wanted === undefined || !pool.contains(wanted) || pool.ownerOf(wanted) !== undefined)
    return pool.allocateNext(OWNER);
  pool.allocate(wanted, OWNER);
  return wanted;
}

/** The document on disk. */
type Texts = Pick<AddressPair, 'ipv4' | 'ipv6'>;

function read({ ipv4, ipv6 }: Texts): Addressing {
  return {
    ...(ipv4 !== undefined && { ipv4: parseAddress(ipv4) }),
    ...(ipv6 !== undefined && { ipv6: parseAddress(ipv6) }),
  };
}

/** @throws what is wrong with it */
function decode(json: unknown): Texts {
  if (typeof json !== 'object' || json === null) throw new Error('it must be an object');
  for (const name of ['ipv4', 'ipv6'] as const) {
    const text = (json as Readonly<Record<string, unknown>>)[name];
    if (text !== undefined && typeof text !== 'string') throw new Error(`${name} is no address`);
  }
  read(json);
  return json;
}
