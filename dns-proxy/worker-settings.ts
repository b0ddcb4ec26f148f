import type { ProxySettings } from './contract.ts';

/** What a worker is started with. */
export interface WorkerSettings {
  readonly bpfRoot: string;
  /** Preferred port of the listeners; 0 is any. */
  readonly port: number;
}

export const DEFAULT_SETTINGS: ProxySettings = {
  reject: 'refused',
  maxDelayMs: 100,
  concurrencyPerEndpoint: 4096,
  connectionsPerEndpoint: 256,
  idleTimeoutMs: 10_000,
  upstreamTimeoutMs: 10_000,
};
