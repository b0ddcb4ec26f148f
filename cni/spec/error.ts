import { LATEST_VERSION } from './version.ts';

/** Error codes of the CNI specification (§"Error"); those from 100 on are the plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** STATUS: the plugin cannot serve an ADD. */
  notAvailable: 50,
  /** STATUS: the same, and existing containers may have limited connectivity. */
  notAvailableLimited: 51,
  /** The agent refused, or could not do what was asked. */
  agentFailed: 100,
  /** CHECK: what stands differs from what ADD had answered. */
  checkFailed: 101,
  /** No address is left for the pod. */
  addressesExhausted: 102,
} as const;

export type CniCode = (typeof CNI_CODE)[keyof typeof CNI_CODE];

/** A failure as the runtime is told it: `message` says what, `details` why and what to do. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: CniCode;
  readonly details: string;

  constructor(code: CniCode, message: string, details: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** The error's JSON for stdout, one line. `version` is that of the configuration, if it could be read. */
export function encodeError(error: CniError, version: string | undefined): string {
  const { code, message, details } = error;
  return JSON.stringify({ cniVersion: version ?? LATEST_VERSION, code, msg: message, details });
}
