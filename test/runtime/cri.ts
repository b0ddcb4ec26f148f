import path from 'node:path';
import { credentials, loadPackageDefinition, type Client, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

export interface PodSandboxConfig {
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string };
  readonly logDirectory: string;
  readonly linux: { readonly cgroupParent: string };
}

export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

interface SandboxStatus {
  readonly status: {
    readonly network: { readonly ip: string; readonly additionalIps: readonly { readonly ip: string }[] };
  };
  readonly info: Readonly<Record<string, string>>;
}

const definition = loadSync(path.join(import.meta.dirname, 'cri.proto'), { defaults: true });
const { runtime } = loadPackageDefinition(definition) as unknown as {
  runtime: { v1: { RuntimeService: new (...args: ConstructorParameters<typeof Client>) => Client } };
};

/** The container runtime as a kubelet sees it. */
export class Cri implements Disposable {
  readonly #client: Client;

  constructor(socket: string) {
    // The socket's path is no authority that containerd would accept.
    this.#client = new runtime.v1.RuntimeService(`unix://${socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  /** What the runtime says of itself; `NetworkReady` is the plugin's doing. */
  async conditions(): Promise<readonly RuntimeCondition[]> {
    const answer = (await this.#call('Status', {})) as { status: { conditions: readonly RuntimeCondition[] } };
    return answer.status.conditions;
  }

  /** Id of the new sandbox. */
  async runPodSandbox(config: PodSandboxConfig): Promise<string> {
    return ((await this.#call('RunPodSandbox', { config })) as { podSandboxId: string }).podSandboxId;
  }

  /** The pod's addresses, and the path of its network namespace as the runtime sees it. */
  async podSandbox(id: string): Promise<{ readonly ips: readonly string[]; readonly netns: string }> {
    const answer = (await this.#call('PodSandboxStatus', { podSandboxId: id, verbose: true })) as SandboxStatus;
    const { ip, additionalIps } = answer.status.network;
    const info = JSON.parse(answer.info['info']!) as { runtimeSpec: RuntimeSpec };
    const netns = info.runtimeSpec.linux.namespaces.find(({ type }) => type === 'network')?.path;
    if (netns === undefined) throw new Error(`sandbox ${id} has no network namespace`);
    return { ips: [ip, ...additionalIps.map((more) => more.ip)].filter((some) => some !== ''), netns };
  }

  async stopPodSandbox(id: string): Promise<void> {
    await this.#call('StopPodSandbox', { podSandboxId: id });
  }

  async removePodSandbox(id: string): Promise<void> {
    await this.#call('RemovePodSandbox', { podSandboxId: id });
  }

  #call(method: string, request: object): Promise<unknown> {
    const rpc = definition[`runtime.v1.RuntimeService`]![method as never] as unknown as Rpc;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        rpc.path,
        rpc.requestSerialize,
        rpc.responseDeserialize,
        request,
        { deadline: Date.now() + 60_000 } as never,
        (error: ServiceError | null, answer?: unknown) => (error === null ? resolve(answer) : reject(error)),
      );
    });
  }
}

interface Rpc {
  readonly path: string;
  readonly requestSerialize: (value: object) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

interface RuntimeSpec {
  readonly linux: { readonly namespaces: readonly { readonly type: string; readonly path?: string }[] };
}
