/** An agent as the operating system and its metrics see it. */
import { readFileSync } from 'node:fs';
import { runAsync } from '../../harness/exec.ts';
import type { WeirNode } from '../../harness/node.ts';
import { waitFor } from '../../harness/wait.ts';

/** Where the agent's metrics are, inside its namespace. */
export const METRICS_FLAGS = ['--metrics-listen', '127.0.0.1:9962'] as const;

/** Clock ticks of `/proc/PID/stat` a second. */
const TICKS = 100;

/** What a start may take on a machine that is busy with other things, in milliseconds. */
const START_MS = 300_000;

export interface Memory {
  /** Mebibytes: resident, of which not backed by files, and the most that was resident at any time. */
  readonly rss: number;
  readonly anonymous: number;
  readonly peak: number;
}

/** Milliseconds from the start of the program. */
export interface StartTimes {
  /** What the last run enforced is known again. */
  readonly restored: number;
  /** Everything that exists is known and enforced. */
  readonly ready: number;
}

export class AgentProcess {
  readonly node: WeirNode;

  constructor(node: WeirNode) {
    this.node = node;
  }

  /** Starts it, and waits until it enforces. */
  async start(): Promise<StartTimes> {
    const began = Date.now();
    await this.node.startAgent([...METRICS_FLAGS], START_MS);
    const at = (phase: string): number => {
      const lines = readFileSync(this.node.log, 'utf8').trimEnd().split('\n');
      const times = lines
        .filter((line) => line.includes(`"phase":"${phase}"`))
        .map((line) => (JSON.parse(line) as { time: number }).time);
      return times.at(-1)! - began;
    };
    return { restored: at('restored'), ready: at('ready') };
  }

  memory(): Memory {
    const status = readFileSync(`/proc/${this.node.agentPid}/status`, 'utf8');
    const mebibytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(status)![1]) / 1024;
    return { rss: mebibytes('VmRSS'), anonymous: mebibytes('RssAnon'), peak: mebibytes('VmHWM') };
  }

  /** Processor time that all its threads have taken so far, in seconds. */
  cpu(): number {
    const stat = readFileSync(`/proc/${this.node.agentPid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  /** The longest that its event loop has stood still since the last time somebody asked, in milliseconds. */
  async longestStall(): Promise<number> {
    return ((await this.metrics()).get('nodejs_eventloop_lag_max_seconds') ?? NaN) * 1000;
  }

  /** Metrics by name and labels. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const script = `process.stdout.write(await (await fetch('http://127.0.0.1:9962/metrics')).text())`;
    const argv = [...this.node.ns.enter, process.execPath, '--input-type=module', '-e', script];
    const { stdout, stderr, status } = await runAsync(argv);
    if (status !== 0) throw new Error(`metrics: ${stderr}`);
    const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  }

  /** Resolves when its memory has stood still for a while: collected, and grown no more. */
  async rest(): Promise<void> {
    let last = this.memory().rss;
    let calm = 0;
    await waitFor(
      'the memory of the agent to settle',
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        const { rss } = this.memory();
        calm = Math.abs(rss - last) < 1 ? calm + 1 : 0;
        last = rss;
        return calm >= 5;
      },
      60_000,
    ).catch(() => undefined);
  }
}
