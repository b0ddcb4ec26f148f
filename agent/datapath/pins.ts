import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { readdir, rm, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { endpointId, type EndpointId } from '../model/endpoint.ts';
import type { SocketHook } from '../kernel/cgroup.ts';
import { ensureBpffs } from '../kernel/mount.ts';

/** Programs of an endpoint that are attached to its link. */
export type EndpointHook = 'from_container' | 'to_container';
/** Programs of the node's own devices. */
export type NodeHook = 'from_netdev' | 'to_netdev' | 'from_host' | 'from_overlay' | 'to_overlay';

const POLICY_MAP = /^weir_policy_(\d+)$/;

/**
 * Where things are pinned below the BPF root, so that they outlive the agent:
 *
 *     weir_lxc, weir_ipcache …        the node's maps, by their own names
 *     weir_policy_<endpoint>          policy maps
 *     links/<endpoint>/<program>      what is attached to endpoints' links
 *     links/node/<device>/<program>   what is attached to the node's devices
 *     links/sockets/<program>         what is attached to the sockets of its cgroup
 */
export class Pins {
  readonly root: string;

  /** Mounts a BPF file system at `root` when it is on none. @throws KernelError SYSCALL_FAILED */
  constructor(root: string) {
    this.root = root;
    mountAbove(root);
    mkdirSync(path.join(root, 'links', 'node'), { recursive: true, mode: 0o700 });
  }

  map(name: string): string {
    return path.join(this.root, name);
  }

  policyMap(id: EndpointId): string {
    return path.join(this.root, `weir_policy_${id}`);
  }

  endpointLink(id: EndpointId, hook: EndpointHook): string {
    return path.join(this.root, 'links', String(id), hook);
  }

  nodeLink(device: string, hook: NodeHook): string {
    return path.join(this.root, 'links', 'node', device, hook);
  }

  socketLink(hook: SocketHook): string {
    return path.join(this.root, 'links', 'sockets', hook);
  }

  /** The endpoints of which anything is pinned. */
  endpoints(): readonly EndpointId[] {
    const ids = new Set<number>();
    for (const name of readdirSync(this.root)) {
      const match = POLICY_MAP.exec(name);
      if (match !== null) ids.add(Number(match[1]));
    }
    for (const name of readdirSync(path.join(this.root, 'links'))) if (/^\d+$/.test(name)) ids.add(Number(name));
    return [...ids].sort((a, b) => a - b).map(endpointId);
  }

  /** The node's devices that have links pinned. */
  nodeDevices(): readonly string[] {
    return readdirSync(path.join(this.root, 'links', 'node'));
  }

  removeNodeFolder(device: string): void {
    rmSync(path.join(this.root, 'links', 'node', device), { recursive: true, force: true });
  }

  makeFolder(pin: string): void {
    mkdirSync(path.dirname(pin), { recursive: true, mode: 0o700 });
  }

  /** Removes an endpoint's folder of links, whatever it still holds. */
  removeEndpointFolder(id: EndpointId): void {
    rmSync(path.join(this.root, 'links', String(id)), { recursive: true, force: true });
  }

  /** Removes everything that is pinned, on a worker thread, and the root itself when it is not a mount point. */
  async removeAll(): Promise<void> {
    for (const name of await readdir(this.root)) await rm(path.join(this.root, name), { recursive: true, force: true });
    try {
      await rmdir(this.root);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    }
  }
}

/** Removes a pin; an absent one is fine. The kernel's part, which may wait, is done on a worker thread. */
export async function removePin(pin: string): Promise<void> {
  try {
    await unlink(pin);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** `/sys/fs/bpf` takes no folders before a BPF file system is mounted there. */
function mountAbove(root: string): void {
  const standard = '/sys/fs/bpf';
  ensureBpffs(root === standard || root.startsWith(`${standard}/`) ? standard : root);
}
