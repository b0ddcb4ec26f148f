/** The API server of a cluster under test, as a process that can be killed. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import type { ApiRequest } from '../../agent/k8s/apiserver/client.ts';
import type { RequestRecord } from '../fakes/kube-apiserver/server.ts';
import type { ACCOUNTS, Order, OrderAnswer } from './api-server-process.ts';
import { start, stop } from './exec.ts';
import type { Netns } from './netns.ts';
import { WORLD_ADDRESSES } from './node.ts';

export type Json = Readonly<Record<string, unknown>>;

/** What a test wants to do, without the number that its answer is found by. */
type Wish = Order extends infer O ? (O extends Order ? Omit<O, 'id'> : never) : never;

export interface ApiServerOptions {
  /** Where it runs; it listens on the address of the world. */
  readonly ns: Netns;
  /** What it stores, and the kubeconfig files. */
  readonly directory: string;
  /** Weir's custom resources are there from the start. */
  readonly definitions: boolean;
  /** File whose functions {@link ApiServerProcess.call} calls; what is stored does not outlive the process then. */
  readonly module?: string;
}

/** An API server in the namespace of the world; what it stores outlives it. */
export class ApiServerProcess implements AsyncDisposable {
  readonly #options: ApiServerOptions;
  readonly #waiting = new Map<number, (answer: OrderAnswer) => void>();
  #child: ChildProcess | undefined;
  #next = 1;

  private constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  static async start(options: ApiServerOptions): Promise<ApiServerProcess> {
    const server = new ApiServerProcess(options);
    await server.#spawn([]);
    return server;
  }

  /** How an agent, the operator or the administrator reaches it. */
  kubeconfig(account: keyof typeof ACCOUNTS | 'admin'): string {
    return path.join(this.#options.directory, `kubeconfig.${account}`);
  }

  /** Kills it in the middle of whatever it does. */
  async kill(): Promise<void> {
    if (this.#child !== undefined) await stop(this.#child, 'SIGKILL');
    this.#child = undefined;
  }

  /**
   * Starts it again, with all that it stored.
   *
   * @param revisions `kept`: watches go on where they were; `new`: as after a restore from a backup, none can
   */
  async restart(revisions: 'kept' | 'new' = 'kept'): Promise<void> {
    await this.#spawn(revisions === 'new' ? ['--new-epoch'] : []);
  }

  async request(request: ApiRequest): Promise<Json> {
    return (await this.#order({ do: 'request', request })) as Json;
  }

  /** What was asked of it since it started. */
  async records(): Promise<readonly RequestRecord[]> {
    return (await this.#order({ do: 'records' })) as readonly RequestRecord[];
  }

  /** Calls a function of the module inside the server's process. */
  async call(duty: string, argument: unknown): Promise<unknown> {
    return await this.#order({ do: 'call', duty, argument });
  }

  async create(collection: string, body: Json): Promise<Json> {
    return await this.request({ method: 'POST', path: collection, body });
  }

  async merge(object: string, body: Json): Promise<Json> {
    return await this.request({ method: 'PATCH', path: object, body, contentType: 'application/merge-patch+json' });
  }

  async delete(object: string): Promise<void> {
    await this.request({ method: 'DELETE', path: object, query: { gracePeriodSeconds: 0 } });
  }

  async get(object: string): Promise<Json> {
    return await this.request({ method: 'GET', path: object });
  }

  async list(collection: string): Promise<Json[]> {
    return (await this.get(collection))['items'] as Json[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #spawn(more: readonly string[]): Promise<void> {
    const { ns, directory, definitions, module } = this.#options;
    const script = path.join(import.meta.dirname, 'api-server-process.ts');
    const words = [WORLD_ADDRESSES.v4, directory, ...(definitions ? ['--definitions'] : []), ...more];
    if (module !== undefined) words.push('--module', module);
    const child = start([...ns.enter, process.execPath, script, ...words], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child = child;
    child.on('message', (answer: OrderAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    child.on('exit', () => {
      for (const [id, answer] of this.#waiting) answer({ id, error: 'the API server ended' });
      this.#waiting.clear();
    });
    await this.#answer(0);
  }

  async #order(order: Wish): Promise<unknown> {
    const id = this.#next++;
    const answer = this.#answer(id);
    if (this.#child === undefined) throw new Error('the API server does not run');
    this.#child.send({ ...order, id });
    return await answer;
  }

  async #answer(id: number): Promise<unknown> {
    const { result, error } = await new Promise<OrderAnswer>((resolve) => this.#waiting.set(id, resolve));
    if (error !== undefined) throw new Error(error);
    return result;
  }
}
