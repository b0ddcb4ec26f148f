import type { OptionName } from './options.ts';
import type { Reader } from './reader.ts';

/** What is reported of packets. */
export interface EventConfig {
  readonly drops: boolean;
  readonly verdicts: boolean;
  readonly traces: boolean;
  readonly aggregation: 'none' | 'low' | 'medium' | 'maximum';
  /** Milliseconds. */
  readonly intervalMs: number;
  /** As in a TCP header's byte of flags. */
  readonly flags: number;
  /** Of each type, a second and CPU; 0: no limit. */
  readonly rate: number;
  readonly burst: number;
}

/** In the order of their bits. */
const TCP_FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];

export function readEvents(reader: Reader): EventConfig {
  const flags = reader.text('monitor-aggregation-flags').toLowerCase().split(',').filter(Boolean);
  const unknown = flags.find((flag) => !TCP_FLAGS.includes(flag));
  if (unknown !== undefined) {
    reader.fail('monitor-aggregation-flags', `${JSON.stringify(unknown)} is not one of ${TCP_FLAGS.join(', ')}`);
  }
  const rate = reader.number('bpf-events-default-rate-limit', 0, 10_000_000);
  const burst = reader.number('bpf-events-default-burst-limit', 0, 10_000_000);
  if (burst > 0 && rate === 0) {
    reader.fail('bpf-events-default-burst-limit', 'means nothing without --bpf-events-default-rate-limit');
  }
  const isOn = (name: OptionName): boolean => reader.oneOf(name, ['true', 'false']) === 'true';
  return Object.freeze({
    drops: isOn('bpf-events-drop-enabled'),
    verdicts: isOn('bpf-events-policy-verdict-enabled'),
    traces: isOn('bpf-events-trace-enabled'),
    aggregation: reader.oneOf('monitor-aggregation', ['none', 'low', 'medium', 'maximum']),
    intervalMs: reader.duration('monitor-aggregation-interval'),
    flags: flags.reduce((bits, flag) => bits | (1 << TCP_FLAGS.indexOf(flag)), 0),
    rate,
    burst: burst === 0 ? rate : burst,
  });
}
