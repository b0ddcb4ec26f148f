/** The proxy as a worker of the agent: it lives and ends with it. */
import { parentPort, workerData } from 'node:worker_threads';
import { errorText } from '../agent/model/errors.ts';
import { portChannel } from './channel.ts';
import type { AgentMessage, ProxyMessage, ProxySettings } from './contract.ts';
import { PinnedIpcache } from './kernel-ipcache.ts';
import { DnsServer } from './server.ts';
import type { WorkerSettings } from './worker-settings.ts';

const { bpfRoot, port, settings } = workerData as WorkerSettings & { readonly settings: ProxySettings };

const server = await DnsServer.start({
  ...{ settings, port, identities: new PinnedIpcache(bpfRoot) },
  // The agent's log is out of reach; what goes wrong here is worth a line.
  onError: (message, error) => process.stderr.write(`dns proxy: ${message}: ${errorText(error)}\n`),
});
server.attach(portChannel<ProxyMessage, AgentMessage>(parentPort!));
