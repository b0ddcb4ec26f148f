/** What arrived against what the policies in force allowed. */
import type { Side } from './flow.ts';
import type { Wire } from './load.ts';
import { EACH, type LoadReport } from './load-protocol.ts';

/** One policy was in force from the one time to the other: the agent said so, and had not been told of another. */
export interface Window {
  readonly side: Side;
  /** On the clock of `process.hrtime`, in nanoseconds. */
  readonly from: number;
  readonly to: number;
}

export interface Judgement {
  /** Packets of flows that both policies allow: how many were sent, and how many of these did not arrive. */
  readonly always: number;
  readonly lost: readonly string[];
  /** Packets under one policy, and those of them that went the other way than it says. */
  readonly judged: number;
  readonly contrary: readonly string[];
  /** Windows in which nothing was sent. */
  readonly empty: number;
}

const ALL = (1 << EACH) - 1;

export function judge(report: LoadReport, wires: readonly Wire[], windows: readonly Window[]): Judgement {
  const arrived = Buffer.from(report.arrived, 'base64');
  const lost: string[] = [];
  const contrary: string[] = [];
  const filled = new Set<Window>();
  let judged = 0;
  let next = 0;
  for (let round = 0; round < report.rounds; round++) {
    const [start, end] = [report.started[round]!, report.ended[round]!];
    while (next < windows.length && windows[next]!.to < start) next++;
    const window = windows[next];
    const inside = window !== undefined && end !== 0 && window.from <= start && end <= window.to;
    if (inside) filled.add(window);
    for (const [i, { name, allowed }] of wires.entries()) {
      const seen = arrived[round * wires.length + i]!;
      if (allowed.length === 2 && seen !== ALL) lost.push(`round ${round}: ${name}`);
      if (allowed.length === 0 && seen !== 0) contrary.push(`round ${round}: ${name}, under either policy`);
      if (!inside) continue;
      judged += EACH;
      const expected = allowed.includes(window.side) ? ALL : 0;
      if (allowed.length === 1 && seen !== expected) contrary.push(`round ${round}: ${name}, under ${window.side}`);
    }
  }
  const always = report.rounds * EACH * wires.filter((wire) => wire.always).length;
  return { always, lost, judged, contrary, empty: windows.length - filled.size };
}
