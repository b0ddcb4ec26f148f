/**
 * What an application does with names: asks for one, connects to what it got, at once. Run in a pod's namespace:
 *
 *   node name-client.ts '{"server":"192.0.2.1","transport":"udp","family":4,"port":8080,"names":["a.example."]}'
 *
 * Prints {"ok": number, "failures": string[]}. Over UDP it resolves with c-ares, over TCP with the project's own codec.
 */
import { Resolver } from 'node:dns/promises';
import net from 'node:net';
import { formatAddress } from '../../agent/model/address.ts';
import { encodeQuery } from '../../dns-proxy/message/answer.ts';
import { readLesson } from '../../dns-proxy/message/addresses.ts';
import { frame, FrameSplitter } from '../../dns-proxy/message/framing.ts';
import { readResponse } from '../../dns-proxy/message/message.ts';
import { lostSyns, SYN_TIMEOUT_MS } from './syn-retries.ts';
import { ANSWER_MS } from './wait.ts';

export interface NameClientTask {
  readonly server: string;
  readonly transport: 'udp' | 'tcp';
  readonly family: 4 | 6;
  readonly port: number;
  readonly names: readonly string[];
}

export interface NameClientResult {
  readonly ok: number;
  readonly failures: readonly string[];
}

async function resolveUdp({ server, family }: NameClientTask, name: string): Promise<string> {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: 1 });
  resolver.setServers([family === 6 ? `[${server}]` : server]);
  const addresses = await (family === 4 ? resolver.resolve4(name) : resolver.resolve6(name));
  return addresses[0]!;
}

function resolveTcp({ server, family }: NameClientTask, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(53, server, () => socket.write(frame(encodeQuery(7, name, family === 4 ? 1 : 28)!)));
    const splitter = new FrameSplitter();
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
    socket.on('data', (chunk) =>
      splitter.push(chunk, (message) => {
        const response = readResponse(message);
        const lesson = response.kind === 'response' ? readLesson(response, message) : undefined;
        if (lesson === undefined || 'kind' in lesson) reject(new Error('no address'));
        else resolve(formatAddress(lesson.addresses[0]!));
        socket.destroy();
      }),
    );
  });
}

function connect(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // The first try must do: an answer that took long is none to a SYN that was sent again.
    const [start, before] = [performance.now(), lostSyns()];
    const socket = net.connect({ host, port }, () => {
      socket.destroy();
      if (performance.now() - start > SYN_TIMEOUT_MS && lostSyns() > before)
        reject(new Error('no answer to the first SYN'));
      else resolve();
    });
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
  });
}

const task = JSON.parse(process.argv[2]!) as NameClientTask;
const failures: string[] = [];
let ok = 0;
for (const name of task.names) {
  try {
    const address = await (task.transport === 'udp' ? resolveUdp(task, name) : resolveTcp(task, name));
    await connect(address, task.port);
    ok++;
  } catch (error) {
    failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
console.log(JSON.stringify({ ok, failures } satisfies NameClientResult));
