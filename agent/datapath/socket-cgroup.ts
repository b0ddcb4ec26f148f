import { readlinkSync } from 'node:fs';
import { findCgroupRoot, isCgroup2 } from '../kernel/cgroup.ts';
import { WeirError } from '../model/errors.ts';

/** `auto`: where it is certain that all sockets below the cgroup are this node's. */
export type SocketLbMode = 'auto' | 'true' | 'false';

export interface SocketLbSettings {
  readonly mode: SocketLbMode;
  /** A folder of cgroup v2; undefined: to be found. */
  readonly cgroupRoot: string | undefined;
}

/**
 * The cgroup whose sockets get services translated; undefined: none, services are translated packet by packet.
 *
 * Unless told, an agent in a network namespace of its own (a node that is played, a test) takes none: the cgroup would be
 * the machine's, whose sockets are not that node's.
 *
 * @throws WeirError CONFIG_INVALID when what was asked for cannot be had
 */
export function socketCgroup({ mode, cgroupRoot }: SocketLbSettings): string | undefined {
  if (mode === 'false') return undefined;
  if (cgroupRoot !== undefined) {
    if (isCgroup2(cgroupRoot)) return cgroupRoot;
    throw new WeirError('CONFIG_INVALID', `${cgroupRoot} is not a folder of cgroup v2`, {
      field: '--cgroup-root',
      remedy: 'name a folder below a mount of type cgroup2, or leave --cgroup-root out',
    });
  }
  if (mode === 'auto' && !isMachineNetwork()) return undefined;
  const found = findCgroupRoot();
  if (found !== undefined || mode === 'auto') return found;
  throw new WeirError('CONFIG_INVALID', 'cgroup v2 is not mounted', {
    field: '--bpf-lb-sock',
    remedy: 'mount it (mount -t cgroup2 none PATH) and name it with --cgroup-root',
  });
}

/** Whether the agent is in the network namespace of the first process. Not when that cannot be told. */
function isMachineNetwork(): boolean {
  try {
    return readlinkSync('/proc/self/ns/net') === readlinkSync('/proc/1/ns/net');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return false;
    throw error;
  }
}
