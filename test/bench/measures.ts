/** What is measured on a path between two namespaces: each by a tool that others use too. */
import { run } from '../harness/exec.ts';
import { onProcessor, PORTS, type Path } from './path.ts';

const SECONDS = 1;
/** Of a small packet's payload, and of a message that is asked and answered. */
const SMALL = 64;
const ATTEMPTS = 3;
/** Requests under way at a time: enough to keep both ends at work. */
const CONCURRENT = 8;

/** Figures that one run of one tool gives. */
export interface Measure {
  readonly rows: readonly { readonly name: string; readonly digits: number }[];
  /** One figure a row. */
  read(path: Path): readonly number[];
}

export const STREAM: Measure = {
  rows: [{ name: 'TCP stream, Gbit/s', digits: 2 }],
  read: (path) => [iperf3(path, []).sum_received!.bits_per_second! / 1e9],
};

/** As fast as the sender can, so what arrives is bounded by the slower of the two ends. */
export const SMALL_PACKETS: Measure = {
  rows: [
    { name: `UDP ${SMALL} B received, 1,000 packets/s`, digits: 1 },
    { name: `UDP ${SMALL} B sent, 1,000 packets/s`, digits: 1 },
  ],
  read: (path) => {
    const { sum } = iperf3(path, ['-u', '-b', '0', '-l', String(SMALL)]);
    const { packets = 0, lost_packets: lost = 0, seconds = SECONDS } = sum ?? {};
    if (packets === 0 || packets === lost) throw new Error(`iperf3 on ${path.name}: ${packets} packets, ${lost} lost`);
    return [(packets - lost) / seconds / 1e3, packets / seconds / 1e3];
  },
};

/** Half a round trip. */
export const EXCHANGE: Measure = {
  rows: [
    { name: 'TCP request/response p50, µs', digits: 1 },
    { name: 'TCP request/response p99, µs', digits: 1 },
  ],
  read: (path) => {
    const answer = observed(path);
    return [percentile(answer, '50.000'), percentile(answer, '99.000')];
  },
};

/** Each connection: opened, asked one request, answered, closed by the server. */
export const CONNECTIONS: Measure = {
  rows: [{ name: 'connections/s', digits: 0 }],
  read: (path) => {
    const url = `http://${path.address}:${PORTS.http}/`;
    const answer = client(path, ['ab', '-q', '-t', String(SECONDS), '-n', '10000000', '-c', String(CONCURRENT), url]);
    const failed = field(answer, /^Failed requests:\s+(\d+)/m);
    if (failed > 0) throw new Error(`${failed} requests failed on ${path.name}:\n${answer}`);
    return [field(answer, /^Requests per second:\s+([\d.]+)/m)];
  },
};

const client = ({ client: { enter } }: Path, argv: readonly string[]): string =>
  run([...enter, ...onProcessor(0), ...argv]);

interface IperfSum {
  readonly bits_per_second?: number;
  readonly seconds?: number;
  readonly packets?: number;
  readonly lost_packets?: number;
}

function iperf3(path: Path, flags: readonly string[]): { readonly sum?: IperfSum; readonly sum_received?: IperfSum } {
  const words = ['-c', path.address, '-p', String(PORTS.iperf), '-t', String(SECONDS), '-J', ...flags];
  const report = JSON.parse(client(path, ['iperf3', ...words])) as {
    readonly error?: string;
    readonly end: { readonly sum?: IperfSum; readonly sum_received?: IperfSum };
  };
  if (report.error !== undefined) throw new Error(`iperf3 on ${path.name}: ${report.error}`);
  return report.end;
}

/**
 * sockperf looks at what was sent after the first 400 ms and before the last 50 ms of its time. On a busy machine an end may get
 * no processor for so long, and then it has observed nothing and says nothing: that is tried again.
 */
function observed(path: Path): string {
  const words = ['-i', path.address, '--tcp', '-p', String(PORTS.sockperfTcp), '--msg-size', String(SMALL)];
  for (let attempt = 1; ; attempt++) {
    const answer = client(path, ['sockperf', 'ping-pong', ...words, '-t', String(SECONDS)]);
    if (/percentile/.test(answer) || attempt === ATTEMPTS) return answer;
    console.error(`sockperf observed nothing on ${path.name} within ${SECONDS} s; again`);
  }
}

const percentile = (answer: string, which: string): number =>
  field(answer, new RegExp(`percentile ${which.replace('.', '\\.')} =\\s*([\\d.]+)`));

function field(answer: string, pattern: RegExp): number {
  const match = pattern.exec(answer);
  if (match === null) throw new Error(`no ${pattern} in the answer:\n${answer}`);
  return Number(match[1]);
}
