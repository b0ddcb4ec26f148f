/**
 * Traffic that goes on while things happen: probes of flows that must pass and of flows that must not, each judged by what
 * policy said when it was under way.
 */
import type { Actor } from './actor.ts';
import { LATE_OK, type Probe, type Probes, type UnderWay, type WatchedFlow } from './pod-protocol.ts';
import { PATIENCE_MS, waitFor } from './wait.ts';

export type Verdict = 'allowed' | 'denied';

export interface Flow {
  /** Unique among the flows. */
  readonly name: string;
  readonly from: { readonly actor: Actor };
  readonly host: string;
  readonly port: number;
  readonly transport: WatchedFlow['transport'];
  /** What policy says to begin with. */
  readonly verdict: Verdict;
}

/** What has been seen since the report before. */
export interface TrafficReport {
  readonly probes: number;
  /** How many of them were judged; the others were under way while the verdict changed. */
  readonly judged: number;
  /** What policy allowed and did not pass, or denied and did. */
  readonly wrong: readonly string[];
}

/** How often each flow is tried. */
const EVERY_MS = 100;
/** Long enough that an allowed exchange ends before, on however busy a machine. */
const TIMEOUT_MS = 3_000;
const COLLECT_MS = 200;
/** A timer that is later than this was held up. */
const STALL_MS = 500;

/** From when on what is expected of a flow; undefined: either. */
interface Expectation {
  readonly from: number;
  readonly verdict: Verdict | undefined;
}

interface Watched {
  readonly flow: Flow;
  readonly expectations: Expectation[];
  /** Those that have ended since the last report. */
  readonly probes: Probe[];
  underWay: UnderWay;
  /** When the youngest of those began that have ended. */
  youngest: number;
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Whether the probe met this verdict and no other: one that passed late was denied at first. */
const isPlainly = (verdict: Verdict, { result }: Pick<Probe, 'result'>): boolean =>
  verdict === 'allowed' ? result === 'ok' : result !== 'ok' && result !== LATE_OK;

export class Traffic implements AsyncDisposable {
  readonly #watched: ReadonlyMap<string, Watched>;
  /** By pod: the flows that it tries, in its order. */
  readonly #pods = new Map<Actor, Watched[]>();
  readonly #timer: NodeJS.Timeout;
  #collecting: Promise<void> = Promise.resolve();
  #stopped = false;
  /** What goes on meanwhile, and since when. */
  readonly #phases: { readonly from: number; readonly what: string }[] = [];

  private constructor(flows: readonly Flow[]) {
    const from = now();
    this.#watched = new Map(
      flows.map((flow) => [
        flow.name,
        { flow, expectations: [{ from, verdict: flow.verdict }], probes: [], underWay: {}, youngest: 0 },
      ]),
    );
    for (const watched of this.#watched.values()) {
      const { actor } = watched.flow.from;
      this.#pods.set(actor, [...(this.#pods.get(actor) ?? []), watched]);
    }
    // A pod that does not answer is the report's to tell.
    this.#timer = setInterval(() => void this.#collect().catch(() => undefined), COLLECT_MS);
  }

  /** Begins; every flow must have the verdict that it is given. */
  static async start(flows: readonly Flow[]): Promise<Traffic> {
    const traffic = new Traffic(flows);
    for (const [actor, watched] of traffic.#pods)
      await actor.do({
        op: 'watch-flows',
        flows: watched.map(({ flow: { transport, host, port } }) => ({
          ...{ transport, host, port, everyMs: EVERY_MS, timeoutMs: TIMEOUT_MS },
        })),
      });
    return traffic;
  }

  /** Says what goes on from now on: the report names it beside what went wrong in it. */
  phase(what: string): void {
    this.#phases.push({ from: now(), what });
  }

  /**
   * Policy changes: from now on the flows may go either way, and each that has gone the new way must go on so. Resolves
   * when all have.
   *
   * @param verdicts by the name of a flow
   * @param change what changes policy
   */
  async turn(
    verdicts: Readonly<Record<string, Verdict>>,
    change: () => Promise<unknown>,
    timeoutMs = PATIENCE_MS,
  ): Promise<void> {
    const turning = Object.entries(verdicts).map(([name, verdict]) => {
      const watched = this.#find(name);
      return { watched, verdict, seen: watched.probes.length };
    });
    const from = now();
    for (const { watched } of turning) watched.expectations.push({ from, verdict: undefined });
    await change();
    await waitFor(
      'flows to turn',
      () => {
        const left = turning.filter(({ watched, verdict, seen }) => {
          const { expectations, probes } = watched;
          if (expectations.at(-1)!.verdict !== undefined) return false;
          const turned = probes.slice(seen).find((probe) => probe.start >= from && isPlainly(verdict, probe));
          if (turned !== undefined) expectations.push({ from: turned.start, verdict });
          return turned === undefined;
        });
        if (left.length > 0) throw new Error(`not yet: ${left.map(({ watched }) => watched.flow.name).join(', ')}`);
        return true;
      },
      timeoutMs,
    );
  }

  /**
   * Resolves when every flow has been tried by a probe that begins from now on: one that has ended, or has heard nothing for as
   * long as an answer may take. What becomes of that is judged when it ends.
   */
  async more(): Promise<void> {
    const from = now();
    await waitFor('a probe of each flow', () =>
      [...this.#watched.values()].every(({ youngest, underWay }) => Math.max(youngest, underWay.silent ?? 0) >= from),
    );
  }

  /** Resolves when all probes that have begun until now have ended. */
  async ended(): Promise<void> {
    const until = now();
    await this.more();
    await waitFor('the probes to end', () =>
      [...this.#watched.values()].every(({ underWay }) => (underWay.oldest ?? until) >= until),
    );
  }

  /** Judges the probes that have ended since the last report; not while flows turn. */
  async report(): Promise<TrafficReport> {
    await this.#collect();
    let [probes, judged] = [0, 0];
    const wrong: string[] = [];
    for (const watched of this.#watched.values()) {
      for (const probe of watched.probes.splice(0)) {
        probes++;
        const expected = expectedOf(watched, probe);
        if (expected === undefined) continue;
        judged++;
        if (isPlainly(expected, probe)) continue;
        const { name } = watched.flow;
        const took = (probe.end - probe.start).toFixed(0);
        const phase = this.#phases.findLast(({ from }) => from <= probe.start)?.what ?? 'the start';
        const what = `${expected}, but ${probe.result} (${took} ms) in ${phase}`;
        wrong.push(`${name}: ${what}, ${timeOf(watched, probe)}`);
      }
    }
    return { probes, judged, wrong };
  }

  /** Ends the probing; those that are under way are not waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#collecting.catch(() => undefined);
    for (const actor of this.#pods.keys()) await actor.do({ op: 'watch-flows', flows: [] });
  }

  #find(name: string): Watched {
    const watched = this.#watched.get(name);
    if (watched === undefined) throw new Error(`no flow ${name}`);
    return watched;
  }

  #collect(): Promise<void> {
    this.#collecting = this.#collecting.then(async () => {
      for (const [actor, watched] of this.#pods) {
        const { ended, underWay } = JSON.parse(await actor.do({ op: 'probes' })) as Probes;
        for (const probe of ended) {
          const flow = watched[probe.flow]!;
          flow.probes.push(probe);
          flow.youngest = Math.max(flow.youngest, probe.start);
        }
        for (const [flow, state] of underWay.entries()) watched[flow]!.underWay = state;
      }
    });
    return this.#collecting;
  }
}

/** What policy said all the while the probe was under way; undefined when it changed or was about to. */
function expectedOf({ expectations }: Watched, { start, end, result }: Probe): Verdict | undefined {
  const at = expectations.findLastIndex(({ from }) => from <= start);
  const next = expectations[at + 1];
  // A process that stood still for so long has not looked for the answer: that says nothing of the verdict.
  if (isPlainly('denied', { result }) && end - start > TIMEOUT_MS + STALL_MS) return undefined;
  // The SYN that was lost may be one of a probe from before policy changed: the kernel counts those of the whole pod.
  if (result === LATE_OK && start - expectations[at]!.from < TIMEOUT_MS) return undefined;
  return at >= 0 && (next === undefined || next.from >= end) ? expectations[at]!.verdict : undefined;
}

function timeOf({ expectations }: Watched, { start }: Probe): string {
  const since = expectations.findLast(({ from }) => from <= start)!.from;
  const at = new Date(Date.now() - (now() - start)).toISOString();
  return `${(start - since).toFixed(0)} ms after policy last changed, at ${at}`;
}
