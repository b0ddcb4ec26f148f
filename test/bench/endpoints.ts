/**
 * What an endpoint costs in the kernel: link, programs, policy, delivery, with programs loaded ahead and without, one after
 * the other and 20 at once, and how long the event loop stood still meanwhile at most. In a network namespace of its own.
 */
import { spawn } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { ALLOW_ALL, testNode, TestPod, type TestNode } from '../../agent/datapath/traffic-testbed.ts';
import { median, type Bench } from './suite.ts';

const SEQUENTIAL = 50;
const PARALLEL = 20;

export const bench: Bench = {
  name: 'endpoints',
  title: `endpoints in the kernel, ${SEQUENTIAL} sequential and ${PARALLEL} parallel, programs loaded ahead or not`,
  async run(print) {
    const child = spawn('unshare', ['--net', '--', process.execPath, import.meta.filename], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    const status = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
    if (status !== 0) throw new Error(`endpoints: exit ${String(status)} ${output}`);
    for (const line of output.trimEnd().split('\n')) print(line);
  },
};

/** Of the event loop, in milliseconds. */
const delay = monitorEventLoopDelay({ resolution: 1 });

async function measure(warmPrograms: number): Promise<void> {
  await using node = await testNode({ warmPrograms });
  const title = warmPrograms > 0 ? 'loaded ahead' : 'loaded at need';
  const pods: TestPod[] = [];
  const remove = async (): Promise<void> => {
    for (const pod of pods.splice(0)) await pod[Symbol.asyncDispose]();
  };
  await node.endpoints.warmUp();
  delay.reset();
  const times: number[] = [];
  for (let i = 0; i < SEQUENTIAL; i++) {
    const started = performance.now();
    pods.push(await create(node, i));
    times.push(performance.now() - started);
    await node.endpoints.warmUp();
  }
  report(`${title}, ${SEQUENTIAL} sequential`, median(times));
  await remove();
  await node.endpoints.warmUp();
  delay.reset();
  const started = performance.now();
  pods.push(...(await Promise.all(Array.from({ length: PARALLEL }, (_, i) => create(node, i)))));
  report(`${title}, ${PARALLEL} at once, in all`, performance.now() - started);
  await remove();
}

async function create(node: TestNode, number: number): Promise<TestPod> {
  const pod = await TestPod.create(node, 11 + number);
  await pod.install(ALLOW_ALL);
  return pod;
}

function report(what: string, milliseconds: number): void {
  const stall = (delay.max / 1e6).toFixed(1);
  console.log(`${what.padEnd(38)} ${milliseconds.toFixed(1).padStart(7)} ms, event loop late by ${stall} ms at most`);
}

if (process.argv[1] === import.meta.filename) {
  delay.enable();
  for (const warmPrograms of [0, 24]) await measure(warmPrograms);
  process.exit(0);
}
