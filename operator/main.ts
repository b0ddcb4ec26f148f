/** weir-operator: turns a command line into a running operator, and ends it. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import pino from 'pino';
import { ApiClient } from '../agent/k8s/apiserver/client.ts';
import { Credentials } from '../agent/k8s/apiserver/credentials.ts';
import type { EtcdClient } from '../agent/kvstore/etcd/client.ts';
import type { EtcdOptions } from '../agent/model/kvstore.ts';
import { systemClock } from '../agent/model/clock.ts';
import { errorText } from '../agent/model/errors.ts';
import { VERSION } from '../agent/model/version.ts';
import { readInvocation, type Invocation, type OperatorConfig } from './config.ts';
import { serveHealth } from './health.ts';
import { Operator } from './operator.ts';
import { helpText } from './options.ts';

/** A wrong command line or configuration is the user's to correct. */
const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

async function main(): Promise<number> {
  let invocation: Invocation;
  try {
    invocation = readInvocation(process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`weir-operator: ${errorText(error)}\n`);
    return EXIT.usage;
  }
  switch (invocation.kind) {
    case 'help':
      process.stdout.write(helpText());
      return EXIT.ok;
    case 'version':
      process.stdout.write(`weir-operator ${VERSION}\n`);
      return EXIT.ok;
    case 'run':
      return await run(invocation.config);
  }
}

/** Only those who speak to a store carry the libraries for it. */
async function openStore(options: EtcdOptions): Promise<EtcdClient> {
  const { loadEtcdConfig } = await import('../agent/kvstore/etcd/config.ts');
  const { EtcdClient: Client } = await import('../agent/kvstore/etcd/client.ts');
  return new Client({ config: loadEtcdConfig(options), reload: () => loadEtcdConfig(options), clock: systemClock });
}

async function run(config: OperatorConfig): Promise<number> {
  const logger = pino({ level: config.logLevel, base: null });
  const clock = systemClock;
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  try {
    const credentials = Credentials.load({ kubeconfig: config.kubeconfig, servers: config.servers, clock });
    const server = new ApiClient({ credentials, userAgent: `weir-operator/${VERSION}`, clock });
    const identity = `${hostname()}-${randomUUID()}`;
    using store = config.kvstore && (await openStore(config.kvstore));
    const operator = new Operator({
      ...{ config, server, clock, logger, identity },
      ...(store !== undefined && { store }),
    });
    await using health = await serveHealth(operator, config.listen);
    logger.info({ version: VERSION, server: server.server, identity, port: health.port }, 'waits to lead');
    await operator.run(stop.signal);
    server.close();
    logger.info('ended');
    return EXIT.ok;
  } catch (error) {
    logger.fatal(errorText(error));
    return EXIT.failed;
  }
}

process.exitCode = await main();
