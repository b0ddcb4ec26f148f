import type { NameGrants } from '../../../dns-proxy/contract.ts';
import type { NameLimits } from '../../fqdn/endpointnames.ts';
import type { AddressChange } from '../../fqdn/links.ts';
import { NameCache, type CacheEntry, type Holding } from '../../fqdn/namecache.ts';
import type { NameRecord } from '../../fqdn/record.ts';
import type { NameSelector } from '../../fqdn/nameselectors.ts';
import type { Families } from '../../identity/cidr-labels.ts';
import type { IdentityRegistry } from '../../identity/registry.ts';
import type { Ipcache, IpcacheChange } from '../../ipcache/ipcache.ts';
import type { Address, Cidr } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import type { EndpointId } from '../../model/endpoint.ts';
import type { WeirError } from '../../model/errors.ts';
import { NameFile } from './name-file.ts';
import { NameIdentityTable, type NameIdentity } from './name-identity.ts';
import { foreignChanges, NamePlaces } from './name-places.ts';
import { NamePoller, NODE_ENDPOINT, type ResolveName } from './name-poller.ts';
import { PodPrefixes } from './pod-prefixes.ts';

/** How often it is looked for leases that have ended, in milliseconds. */
const EXPIRY_MS = 5_000;
/** How long prolonged leases are gathered before they are written, in milliseconds. */
const SAVE_MS = 1_000;

export interface NamesOptions {
  readonly clock: Clock;
  readonly ipcache: Ipcache;
  readonly identities: IdentityRegistry;
  readonly families: Families;
  /** Seconds that an address is kept at least (S30). */
  readonly minTtl: number;
  readonly limits: NameLimits;
  /** Where what was learned is kept for the next start. */
  readonly path: string;
  /** How the node asks for names that nobody else asks for. */
  readonly resolve: ResolveName;
  /** Resolves when every endpoint's policy map knows the identities that exist now. */
  readonly settlePolicies: () => Promise<void>;
  readonly flushIpcache: (prefixes: readonly Cidr[]) => Promise<void>;
  readonly onError: (message: string, error: unknown) => void;
}

/** What endpoints have learned from DNS, and what of it the kernel holds. */
export class Names {
  readonly #options: NamesOptions;
  readonly #cache: NameCache;
  readonly #table: NameIdentityTable;
  readonly #podPrefixes = new PodPrefixes();
  readonly #places: NamePlaces;
  /** Identities of each selector alone, made known before an answer needs them. */
  readonly #prepared = new Map<string, readonly NameIdentity[]>();
  #selectors: readonly NameSelector[] = [];
  /** Work that nobody waits for unless asked to. */
  #background: Promise<unknown> = Promise.resolve();
  #collectedNames = 0;
  #foreign: IpcacheChange[] = [];
  #cancelSave: (() => void) | undefined;
  #cancelExpiry: (() => void) | undefined;
  readonly #file: NameFile;
  readonly #poller: NamePoller;
  /** Leases that were prolonged, not on disk yet. */
  #prolonged: NameRecord[] = [];
  readonly #unsubscribe: () => void;
  /** Called when {@link grants} may say something else than before. */
  onGrants: (() => void) | undefined;

  constructor(options: NamesOptions) {
    this.#options = options;
    const { ipcache } = options;
    this.#table = new NameIdentityTable({ ...options, onChange: () => this.onGrants?.() });
    this.#places = new NamePlaces({ ...options, table: this.#table, podPrefixes: this.#podPrefixes });
    this.#cache = new NameCache({ ...options, admits: (address) => this.#places.admits(address) });
    this.#file = new NameFile(
      options.path,
      () => this.#cache.entries(),
      (error) => options.onError('names cannot be kept for the next start', error),
    );
    this.#poller = new NamePoller({
      ...options,
      // Nobody waits for it; what the kernel refuses is told and tried again.
      learn: (name, addresses, ttl) => void this.learn(NODE_ENDPOINT, name, addresses, ttl)?.catch(() => undefined),
      onError: (name, error) => options.onError(`the node cannot resolve ${name}, which policies admit`, error),
    });
    this.#unsubscribe = ipcache.subscribe((changes) => this.#ipcacheChanged(changes));
    this.#scheduleExpiry();
  }

  /** For metrics and people. */
  get counts() {
    const { names, addresses } = this.#cache.size;
    return { names, addresses, selectors: this.#selectors.length, identities: this.#table.size };
  }

  get selectors(): readonly NameSelector[] {
    return this.#selectors;
  }

  holdings(): Generator<Holding> {
    return this.#cache.holdings();
  }

  /** Names that were let go after their time, since the start. */
  get collectedNames(): number {
    return this.#collectedNames;
  }

  /** Canonical names that the node itself asks for. */
  get polled(): readonly string[] {
    return this.#poller.names;
  }

  /** Prefixes that the cluster's pods have their addresses from: no name opens an address in them (S22). */
  setPodPrefixes(prefixes: readonly Cidr[]): void {
    if (this.#podPrefixes.replace(prefixes)) this.#inBackground(this.#apply(this.#cache.reconsiderAll()));
  }

  /** Asks for these canonical names from now on, and for no others: policies admit whoever has their addresses. */
  poll(names: readonly string[]): void {
    this.#poller.follow(names);
  }

  entries(): Generator<CacheEntry> {
    return this.#cache.entries();
  }

  /** Addresses that are kept for the sake of connections alone. */
  zombies(): Generator<Address> {
    return this.#cache.zombies();
  }

  /** What the proxy may do by itself while no agent runs. */
  grants(): NameGrants {
    const known = [...this.#table.known()].filter(({ ofNamesAlone }) => ofNamesAlone);
    return {
      selectors: this.#selectors.map(selectorText),
      identities: known.map(({ selectors, family, known: { id } }) => ({ selectors, family, identity: id })),
    };
  }

  /**
   * An answer that an endpoint is about to get. It may have it when this resolves, and at once when there is nothing to
   * wait for.
   *
   * @param name canonical
   * @param ttl seconds
   * @throws WeirError when the kernel does not take it now; it is tried again all the same.
   */
  learn(endpoint: EndpointId, name: string, addresses: readonly Address[], ttl: number): Promise<void> | undefined {
    if (addresses.length === 0) return undefined;
    const record = { endpoint, name, addresses, until: this.#cache.leaseEnd(ttl), zombie: false };
    const changes = this.#cache.learn(endpoint, name, addresses, ttl);
    if (changes.length === 0) this.#prolong(record);
    else this.#file.add([record]);
    this.#inBackground(this.#apply(changes));
    // Another endpoint may have learned the same a moment ago, and the kernel not know it yet.
    return this.#places.pending(addresses);
  }

  /** Makes these the selectors that policies use. Resolves when the kernel has followed, as far as it could. */
  async select(selectors: readonly NameSelector[]): Promise<void> {
    this.#selectors = [...new Map(selectors.map((selector) => [selectorText(selector), selector])).values()];
    await this.#prepare();
    this.onGrants?.();
    this.#inBackground(this.#apply(this.#cache.select(this.#selectors)));
    await this.#background;
  }

  /** Resolves when the kernel holds what followed from changes of the ipcache so far, as far as it could be. */
  async settled(): Promise<void> {
    // Changes are gathered until the end of the turn.
    await Promise.resolve();
    await this.#background;
  }

  removeEndpoint(endpoint: EndpointId): void {
    this.#prolonged = this.#prolonged.filter((record) => record.endpoint !== endpoint);
    this.#file.add([{ gone: endpoint }]);
    this.#inBackground(this.#apply(this.#cache.removeEndpoint(endpoint)));
  }

  /** Ends leases before their time; live connections go on. */
  clean(only: Parameters<NameCache['clean']>[0]): void {
    this.#inBackground(this.#apply(this.#cache.clean(only)));
    this.#inBackground(this.#file.rewrite());
  }

  /**
   * Takes up what the last run knew of endpoints that still are.
   *
   * @returns what could not be read
   */
  restore(isEndpoint: (id: EndpointId) => boolean): WeirError | undefined {
    const { entries, problem } = this.#file.read(this.#options.clock.now());
    const kept = entries.filter(({ endpoint }) => endpoint === NODE_ENDPOINT || isEndpoint(endpoint));
    this.#inBackground(this.#apply(this.#cache.restore(kept)));
    this.#inBackground(this.#file.rewrite());
    return problem;
  }

  /** Makes leases that have ended zombies, for the next conntrack collection to judge. */
  expire(): void {
    this.#inBackground(this.#apply(this.#cache.expire()));
  }

  /** What a conntrack collection that began at `at` found (S31). */
  collected(at: number, alive: (endpoint: EndpointId, address: Address) => boolean): void {
    const before = this.#cache.size.names;
    const changes = this.#cache.collected(at, alive);
    this.#collectedNames += before - this.#cache.size.names;
    this.#inBackground(this.#apply(changes));
  }

  /** Ends the work of its own; what the kernel holds stays there. */
  async stop(): Promise<void> {
    this.#cancelExpiry?.();
    this.#unsubscribe();
    this.#poller.stop();
    this.#places.stop();
    await this.#background;
    this.#save();
    await this.#file.close();
  }

  /** That an address is kept longer may be written a little later than that it is kept at all. */
  #prolong(record: NameRecord): void {
    if (this.#prolonged.push(record) === 1) this.#cancelSave = this.#options.clock.after(SAVE_MS, () => this.#save());
  }

  #save(): void {
    this.#cancelSave?.();
    this.#file.add(this.#prolonged);
    this.#prolonged = [];
  }

  /** The identity of each selector alone is ready before the first answer that needs it: most addresses have just one. */
  async #prepare(): Promise<void> {
    const { families, onError } = this.#options;
    const texts = new Set(this.#selectors.map(selectorText));
    const fresh = [...texts].filter((text) => !this.#prepared.has(text));
    for (const text of fresh) {
      const held = ([4, 6] as const)
        .filter((family) => (family === 4 ? families.ipv4 : families.ipv6))
        .map((family) => this.#table.hold({ selectors: [text] }, family, []));
      this.#prepared.set(text, held);
    }
    for (const [text, held] of this.#prepared) {
      if (texts.has(text)) continue;
      this.#prepared.delete(text);
      for (const identity of held) this.#table.release(identity);
    }
    try {
      await this.#table.makeKnown(fresh.flatMap((text) => this.#prepared.get(text) ?? []));
    } catch (error) {
      // Whoever needs the identity tries again.
      onError('identities of names cannot be made ready', error);
    }
  }

  #apply(changes: readonly AddressChange[]): Promise<void> | undefined {
    return changes.length === 0 ? undefined : this.#places.apply(changes);
  }

  /** Faults have been told, and what failed is tried again. */
  #inBackground(work: Promise<void> | undefined): void {
    // The outcomes are let go: each would hold on to the one before.
    if (work !== undefined) this.#background = Promise.allSettled([this.#background, work]).then(() => undefined);
  }

  #ipcacheChanged(changes: readonly IpcacheChange[]): void {
    const foreign = foreignChanges(changes);
    if (foreign.length === 0) return;
    if (this.#foreign.push(...foreign) > foreign.length) return;
    // The ipcache is not to be changed from within its own change.
    queueMicrotask(() => this.#followIpcache());
  }

  /** Addresses became workloads', or are theirs no more; prefixes of policies came or went around addresses. */
  #followIpcache(): void {
    const changes = this.#foreign;
    this.#foreign = [];
    const ofPolicies = ({ before, after }: IpcacheChange): boolean =>
      [before, after].every((record) => record === undefined || record.source === 'generated');
    const told: AddressChange[] = [];
    for (const change of changes) {
      const { address, length } = change.prefix;
      if (length === address.bytes.length * 8) told.push(...this.#cache.reconsider(address));
      else if (!ofPolicies(change)) told.push(...this.#cache.reconsiderAll());
    }
    this.#inBackground(this.#apply(told));
    if (changes.some(concernsPrefix)) this.#inBackground(this.#places.refresh());
  }

  #scheduleExpiry(): void {
    this.#cancelExpiry = this.#options.clock.after(EXPIRY_MS, () => {
      this.expire();
      this.#scheduleExpiry();
    });
  }
}

function selectorText({ matchName, matchPattern }: NameSelector): string {
  return matchName ?? matchPattern ?? '';
}

/** Policies name, or named, the prefix: addresses in it have other labels. */
function concernsPrefix({ before, after }: IpcacheChange): boolean {
  return before?.source === 'generated' || after?.source === 'generated';
}
