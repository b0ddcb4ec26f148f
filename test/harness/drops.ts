/** What a node drops while a test runs: every packet has a reason, and when policy dropped it, an answer to whose. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { readMetrics } from '../../agent/datapath/maps/metrics.ts';
import { BpfMap } from '../../agent/kernel/bpf-map.ts';
import { errorText, WeirError } from '../../agent/model/errors.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import {
  DROP_AUTH_REQUIRED,
  DROP_LINK_LOCAL,
  DROP_NO_PROXY,
  DROP_POLICY_DENIED,
  DROP_POLICY_DENY,
} from '../../bpf/gen/drops.ts';

const textOf = (reason: number): string => DROP_REASONS.get(reason)!.text;

/** Reasons that are some policy's doing, so that the event must say whose. */
const POLICY_REASONS: ReadonlySet<string> = new Set(
  [DROP_POLICY_DENIED, DROP_POLICY_DENY, DROP_AUTH_REQUIRED, DROP_NO_PROXY].map(textOf),
);
/** May be counted without an event: chatter of links. */
const QUIET = textOf(DROP_LINK_LOCAL);
const GONE: ReadonlySet<string> = new Set(['AGENT_UNREACHABLE', 'AGENT_LOST', 'AGENT_STARTING']);
const KNOWN: ReadonlySet<string> = new Set(
  Array.from(DROP_REASONS, ([reason, { text }]) => (reason === 0 ? '' : text)).filter(Boolean),
);

/** How long an event may take from the kernel to here, on a busy machine, in milliseconds. */
const PATIENCE = 30_000;

/** Faults that are shown. */
const SHOWN = 10;

/** What is wrong with a drop that the agent reported; undefined when nothing is. */
export function dropFault(event: MonitorEvent): string | undefined {
  const fault = KNOWN.has(event.reason) ? undefined : 'has no reason';
  const nobody = POLICY_REASONS.has(event.reason) && (event.policies?.length ?? 0) === 0;
  return nobody ? 'names nobody whose policy it is' : fault;
}

/** Drops of many nodes, by reason. */
export class DropReport {
  readonly #faults: string[] = [];
  readonly #seen = new Map<string, number>();
  readonly #unseen = new Map<string, number>();
  #lost = 0;

  /** The first of them, and how many more there were. */
  get faults(): readonly string[] {
    const more = this.#faults.length - SHOWN;
    return more > 0 ? [...this.#faults.slice(0, SHOWN), `and ${more} more`] : this.#faults;
  }

  fault(text: string): void {
    this.#faults.push(text);
  }

  add(seen: ReadonlyMap<string, number>, unseen: ReadonlyMap<string, number>, lost: number): void {
    for (const [reason, count] of seen) this.#seen.set(reason, (this.#seen.get(reason) ?? 0) + count);
    for (const [reason, count] of unseen) this.#unseen.set(reason, (this.#unseen.get(reason) ?? 0) + count);
    this.#lost += lost;
  }

  toString(): string {
    const list = (counts: ReadonlyMap<string, number>): string =>
      Array.from(counts, ([reason, count]) => `${count} ${reason}`).join(', ');
    return [
      `drops explained: ${this.#seen.size === 0 ? 'none' : list(this.#seen)}`,
      ...(this.#unseen.size === 0
        ? []
        : [`counted without an event, as nobody listened or there were too many: ${list(this.#unseen)}`]),
      ...(this.#lost === 0 ? [] : [`events lost: ${this.#lost}`]),
    ].join('; ');
  }
}

/** All drops of a test file, which fails when one of them is not explained; undefined where the process is no test. */
export const dropReport = process.argv[1]?.endsWith('.test.ts') === true ? new DropReport() : undefined;

if (dropReport !== undefined) {
  after(() => {
    console.log(`${path.basename(process.argv[1]!)}: ${dropReport.toString()}`);
    assert.deepEqual(dropReport.faults, [], 'every drop has a reason, and policy a name');
  });
}

/**
 * Follows a node's drops from the start of its agent, through restarts. The kernel's counters tell whether any were missed:
 * while an agent listens without a break, each drop has its event.
 */
export class DropWatch {
  readonly #name: string;
  readonly #api: ApiClient;
  readonly #counters: string;
  readonly #report: DropReport;
  readonly #gone = new AbortController();
  readonly #seen = new Map<string, number>();
  #counted = new Map<string, number>();
  #past = new Map<string, number>();
  #following: Promise<void> | undefined;
  /** Counted before the first agent listened. */
  #before: Promise<Map<string, number>> | undefined;
  /** How many drops no agent will tell of, since they were while none listened. */
  #unheard: Promise<number> | undefined;
  #connected = false;
  /** Whether there was a time, other than before the first agent, in which events went to nobody. */
  #broken = false;
  #lost = 0;

  constructor(name: string, node: { readonly socket: string; readonly bpfRoot: string }, report: DropReport) {
    this.#name = name;
    this.#api = new ApiClient(node.socket);
    this.#counters = path.join(node.bpfRoot, 'weir_metrics');
    this.#report = report;
  }

  /** Starts to listen to an agent that comes up, and to those after it. */
  start(): void {
    this.#following ??= this.#follow();
  }

  /** Waits for the events of what was dropped until now; to be called before an agent is ended. */
  async settle(): Promise<void> {
    await this.#count();
    const deadline = Date.now() + PATIENCE;
    const owed = async (): Promise<boolean> => sum(await this.#missing()) > ((await this.#unheard) ?? 0);
    while (this.#connected && this.#lost === 0 && (await owed()) && Date.now() < deadline) await pause();
  }

  /** Ends the watch and reports what it saw. */
  async close(): Promise<void> {
    if (this.#following === undefined) return;
    await this.settle();
    this.#gone.abort();
    await this.#following;
    const missing = await this.#missing();
    if (!this.#broken && this.#lost === 0) {
      for (const [reason, count] of missing) this.#fault(`dropped ${count} without an event: ${reason}`);
    }
    for (const reason of this.#counts().keys()) {
      if (!KNOWN.has(reason)) this.#fault(`counted drops without a reason: ${reason}`);
    }
    this.#report.add(this.#seen, missing, this.#lost);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#gone;
    for (;;) {
      try {
        const onOpen = (): void => this.#opened();
        for await (const event of this.#api.monitor(signal, { types: ['drop'], onOpen })) this.#take(event);
      } catch (error) {
        // The agent is not there, or went away: the next one may come. Anything else is no way to end a monitor.
        if (!(error instanceof WeirError) || !GONE.has(error.code)) this.#fault(`monitor: ${errorText(error)}`);
      }
      if (signal.aborted) return;
      this.#broken ||= this.#connected;
      this.#connected = false;
      await pause();
    }
  }

  #opened(): void {
    this.#connected = true;
    this.#before ??= this.#count().then(() => this.#counts());
    if (this.#broken) this.#unheard = this.#count().then(async () => sum(await this.#missing()));
  }

  #take(event: MonitorEvent): void {
    this.#lost += (event.lost ?? 0) + (event.limited ?? 0);
    this.#seen.set(event.reason, (this.#seen.get(event.reason) ?? 0) + 1);
    const isUnknown = !this.#broken && event.policies?.includes('endpoint-gone') === true;
    const fault = isUnknown ? 'is of an endpoint that nobody knows' : dropFault(event);
    if (fault !== undefined) this.#fault(`a drop ${fault}: ${JSON.stringify(event)}`);
  }

  #fault(text: string): void {
    this.#report.fault(`${this.#name}: ${text}`);
  }

  /** Reads the counters, which are there as long as the node's maps are. */
  async #count(): Promise<void> {
    using map = BpfMap.openPinned(this.#counters);
    if (map === undefined) return;
    const now = new Map<string, number>();
    for (const { reason, reasonText, packets } of await readMetrics(map)) {
      if (reason !== 0) now.set(reasonText, (now.get(reasonText) ?? 0) + Number(packets));
    }
    const isNew = [...this.#counted].some(([reason, count]) => (now.get(reason) ?? 0) < count);
    if (isNew) this.#past = this.#counts();
    this.#counted = now;
  }

  #counts(): Map<string, number> {
    const counts = new Map(this.#past);
    for (const [reason, count] of this.#counted) counts.set(reason, (counts.get(reason) ?? 0) + count);
    return counts;
  }

  /** Drops that were counted since somebody listened, and had no event, by reason. */
  async #missing(): Promise<Map<string, number>> {
    const before = await this.#before;
    const missing = new Map<string, number>();
    for (const [reason, count] of this.#counts()) {
      const short = count - (before?.get(reason) ?? 0) - (this.#seen.get(reason) ?? 0);
      if (short > 0 && reason !== QUIET) missing.set(reason, short);
    }
    return missing;
  }
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
