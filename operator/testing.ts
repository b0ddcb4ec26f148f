/** What the operator's tests share: a cluster's API server, and someone to speak to it as. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { ApiClient } from '../agent/k8s/apiserver/client.ts';
import { Credentials } from '../agent/k8s/apiserver/credentials.ts';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../agent/k8s/crds/index.ts';
import { systemClock, type Clock } from '../agent/model/clock.ts';
import { readInvocation, type OperatorConfig } from './config.ts';
import type { DutyContext } from './duty.ts';
import { createMetrics } from './metrics.ts';

/** What a test needs of its API server. */
interface Cluster {
  kubeconfig(token?: string): string;
  apply(object: object): unknown;
}

/** A client of a test's API server: of the administrator, unless a token is given. */
export function clientOf(cluster: Cluster, token?: string): ApiClient {
  const folder = mkdtempSync(path.join(tmpdir(), 'weir-operator-'));
  try {
    const kubeconfig = path.join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, cluster.kubeconfig(token));
    const credentials = Credentials.load({ kubeconfig, servers: [], clock: systemClock });
    return new ApiClient({ credentials, userAgent: 'weir-operator/test', clock: systemClock, timeoutMs: 5_000 });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function contextOf(server: ApiClient, clock: Clock = systemClock): DutyContext {
  return { server, clock, logger: pino({ level: 'silent' }), metrics: createMetrics(), random: () => 0.5 };
}

/** The configuration of a command line. */
export function configOf(...argv: string[]): OperatorConfig {
  const invocation = readInvocation(argv, {});
  if (invocation.kind !== 'run') throw new Error(`${argv.join(' ')} is no command line of an operator`);
  return invocation.config;
}

/** Registers Weir's kinds. */
export function defineKinds(cluster: Cluster): void {
  for (const crd of CUSTOM_RESOURCE_DEFINITIONS) cluster.apply(crd);
}
