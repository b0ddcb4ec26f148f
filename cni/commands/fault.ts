import { errorText, WeirError, type ErrorCode } from '../../agent/model/errors.ts';
import { CNI_CODE, CniError, type CniCode } from '../spec/error.ts';

/** How the specification's codes tell the agent's faults; any other is the plugin's own `agentFailed`. */
const CODES: Partial<Record<ErrorCode, CniCode>> = {
  AGENT_UNREACHABLE: CNI_CODE.tryAgainLater,
  AGENT_STARTING: CNI_CODE.tryAgainLater,
  AGENT_LOST: CNI_CODE.tryAgainLater,
  AGENT_TIMEOUT: CNI_CODE.tryAgainLater,
  ENDPOINT_NOT_FOUND: CNI_CODE.unknownContainer,
  ENDPOINT_STATE: CNI_CODE.tryAgainLater,
  // Not unknownContainer: that would tell the runtime that no DEL is needed.
  NETNS_NOT_FOUND: CNI_CODE.invalidEnvironment,
  REQUEST_INVALID: CNI_CODE.invalidConfig,
  ENDPOINT_INVALID: CNI_CODE.invalidConfig,
  LABELS_INVALID: CNI_CODE.invalidConfig,
  ADDRESS_INVALID: CNI_CODE.invalidConfig,
  IPAM_OUT_OF_RANGE: CNI_CODE.invalidConfig,
  IPAM_IN_USE: CNI_CODE.invalidConfig,
  IPAM_EXHAUSTED: CNI_CODE.addressesExhausted,
  STATE_WRITE_FAILED: CNI_CODE.ioFailure,
};

/** Anything thrown, as the runtime is told it. `code` replaces the fault's own. */
export function cniErrorOf(thrown: unknown, code?: CniCode): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof WeirError) {
    const where = [thrown.object, thrown.field].filter((part) => part !== undefined).join(': ');
    const message = where === '' ? thrown.message : `${where}: ${thrown.message}`;
    const details = `${thrown.code}: ${thrown.remedy}`;
    return new CniError(code ?? CODES[thrown.code] ?? CNI_CODE.agentFailed, message, details, thrown);
  }
  const advice = 'weir-cni could not read, write or compute something on this node: see the message';
  return new CniError(code ?? CNI_CODE.ioFailure, errorText(thrown), advice, thrown);
}

/** Whether `thrown` is the agent's, or the client's, fault `code`. */
export function isFault(thrown: unknown, ...codes: readonly ErrorCode[]): boolean {
  return thrown instanceof WeirError && codes.includes(thrown.code);
}
