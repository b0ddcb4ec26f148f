/**
 * The one catalogue of faults. Every error that leaves a room is a {@link WeirError} with a stable code, so that logs,
 * the REST API, the CLI and the CNI plugin say the same thing about the same fault and can tell the user what to do.
 *
 * Expected outcomes are unions, not errors (architecture.md §4.7).
 */

/** What the catalogue knows about a code: how REST answers it, and what a person can do about it. */
export interface ErrorKind {
  /** HTTP status with which the agent's API answers this fault. */
  readonly status: number;
  /** Default advice; a throw site may give a better one. */
  readonly remedy: string;
}

export const ERROR_CATALOGUE = {
  // Configuration and resources
  CONFIG_INVALID: { status: 400, remedy: 'correct the named flag, environment variable or file entry; see --help' },
  RESOURCE_INVALID: {
    status: 400,
    remedy: 'correct the named field of the object; the previous version stays in force',
  },
  POLICY_INVALID: { status: 400, remedy: 'correct the named field of the policy; the previous version stays in force' },
  TRIAL_RUNNING: {
    status: 409,
    remedy: 'end it first: `weir policy confirm` keeps its policies, `weir policy rollback` takes them back',
  },
  TRIAL_NOT_FOUND: { status: 404, remedy: 'begin one with `weir policy try FILE`' },
  POLICY_CONFLICT: {
    status: 409,
    remedy: 'change one of the named rules so that they no longer contradict each other',
  },
  LABELS_INVALID: { status: 400, remedy: 'write labels as source:key=value' },
  ADDRESS_INVALID: { status: 400, remedy: 'give an IPv4 or IPv6 address or prefix' },

  // Kubernetes API server
  KUBERNETES_UNREACHABLE: {
    status: 503,
    remedy: 'see whether the API server answers at the named address; the agent goes on trying',
  },
  KUBERNETES_REFUSED: {
    status: 502,
    remedy: 'see the status of the API server; a 403 wants the verbs of install/ for the service account',
  },
  SOURCE_STOPPED: { status: 503, remedy: 'start the agent again' },

  // Key-value store
  KVSTORE_UNREACHABLE: {
    status: 503,
    remedy: 'see whether etcd answers at the named address; the agent goes on trying, and what it knows stays in force',
  },
  KVSTORE_REFUSED: { status: 502, remedy: 'see the log of etcd, and what its users may do' },

  // API and endpoints
  REQUEST_INVALID: { status: 400, remedy: 'correct the named field of the request' },
  ENDPOINT_NOT_FOUND: { status: 404, remedy: 'list the endpoints with `weir endpoint list`' },
  ENDPOINT_EXISTS: { status: 409, remedy: 'delete the endpoint first, or use another id' },
  ENDPOINT_INVALID: { status: 400, remedy: 'correct the named field of the endpoint request' },
  ENDPOINT_STATE: { status: 409, remedy: 'wait until the endpoint has left its present state' },
  IDENTITY_NOT_FOUND: { status: 404, remedy: 'list the identities with `weir identity list`' },
  IDENTITY_EXHAUSTED: { status: 502, remedy: 'use fewer distinct label sets: exclude labels with the label filter' },
  IDENTITY_BUSY: { status: 503, remedy: 'try again: endpoints are moving to the numbers of this cluster' },
  POLICY_NOT_FOUND: { status: 404, remedy: 'list the policies in force with `weir policy get`' },
  MAP_NOT_FOUND: { status: 404, remedy: 'list the maps with `weir map list`' },
  AGENT_UNREACHABLE: { status: 503, remedy: 'start weir-agent, or name its socket with --socket' },
  AGENT_LOST: {
    status: 503,
    remedy: 'look at the log of weir-agent, then try again: the request may have taken effect',
  },
  AGENT_TIMEOUT: {
    status: 504,
    remedy: 'look at `weir status` and the log of weir-agent, then try again: the request may have taken effect',
  },
  ANSWER_INVALID: { status: 502, remedy: 'name the socket of weir-agent with --socket, and run matching versions' },
  AGENT_STARTING: { status: 503, remedy: 'try again shortly: the agent is still restoring its state' },
  INTERNAL: { status: 500, remedy: 'report this with the output of `weir debuginfo`' },

  // Addresses
  IPAM_EXHAUSTED: { status: 502, remedy: 'delete unused pods, or give the node a larger pod CIDR' },
  IPAM_IN_USE: { status: 409, remedy: 'choose another address' },
  ADDRESS_NOT_FOUND: { status: 404, remedy: 'list the addresses with `weir status --all-addresses`' },
  IPAM_OUT_OF_RANGE: { status: 400, remedy: 'choose an address inside the node pod CIDR' },

  // Services
  SERVICE_NOT_FOUND: { status: 404, remedy: 'list the services with `weir service list`' },
  FRONTEND_TAKEN: { status: 409, remedy: 'give the services different addresses, or different ports' },
  IDS_EXHAUSTED: { status: 502, remedy: 'remove services that are not used' },
  PORTS_OVERLAP: { status: 500, remedy: 'let net.ipv4.ip_local_port_range end earlier' },

  // Health of the cluster
  HEALTH_DISABLED: { status: 404, remedy: 'start the agent with --enable-health-checking true' },
  HEALTH_PROBE_FAILED: { status: 502, remedy: 'see whether packets between the nodes pass, and what policy drops' },

  // State on disk
  STATE_CORRUPT: {
    status: 500,
    remedy: 'the damaged file was set aside; the endpoint is restored from its pins or recreated',
  },
  STATE_WRITE_FAILED: { status: 500, remedy: 'free space on, or repair, the file system of --state-dir' },

  // Kernel
  KERNEL_UNSUPPORTED: { status: 500, remedy: 'run a kernel that has the named feature' },
  SYSCALL_FAILED: { status: 500, remedy: 'see the errno and the operation named in the message' },
  NETLINK_FAILED: { status: 500, remedy: 'see the errno and the kernel message named in the error' },
  NETNS_NOT_FOUND: { status: 400, remedy: 'name a network namespace that exists, as the runtime does in CNI_NETNS' },
  BPF_LOAD_FAILED: { status: 500, remedy: 'see the verifier log in the error; the previous program stays attached' },
  BPF_MAP_FAILED: { status: 500, remedy: 'see the errno and the map named in the message' },
  BPF_MAP_FULL: { status: 500, remedy: 'raise the size of the named map, or reduce what it holds' },
} as const satisfies Record<string, ErrorKind>;

/** A stable code of the catalogue. */
export type ErrorCode = keyof typeof ERROR_CATALOGUE;

/** Where and what: which object and field are at fault, and advice better than the catalogue's. */
export interface ErrorContext {
  /** The object at fault, such as `CiliumNetworkPolicy default/web` or `endpoint 42`. */
  readonly object?: string;
  /** Path of the field at fault inside the object, such as `spec.ingress[0].toPorts[1].port`. */
  readonly field?: string;
  /** What a person can do; the catalogue's advice when absent. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

/** A fault of the catalogue. */
export class WeirError extends Error {
  override readonly name: string = 'WeirError';
  readonly code: ErrorCode;
  readonly object: string | undefined;
  readonly field: string | undefined;
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.code = code;
    this.object = context.object;
    this.field = context.field;
    this.remedy = context.remedy ?? ERROR_CATALOGUE[code].remedy;
  }

  /** HTTP status with which the agent's API answers this fault. */
  get status(): number {
    return ERROR_CATALOGUE[this.code].status;
  }

  /** One line for a person: object, field, what happened and what to do. */
  describe(): string {
    const where = [this.object, this.field].filter((part) => part !== undefined).join(': ');
    return `${where === '' ? '' : `${where}: `}${this.message} (${this.remedy})`;
  }
}

/** The text of anything thrown, for logs and messages. */
export function errorText(thrown: unknown): string {
  if (thrown instanceof WeirError) return thrown.describe();
  return thrown instanceof Error ? thrown.message : String(thrown);
}
