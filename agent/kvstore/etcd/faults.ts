/** What a store has refused, told from what it says. */
import { WeirError } from '../../model/errors.ts';

/** gRPC's; the library itself is left to those who speak to a store. */
const NOT_FOUND = 5;

/** Whether the store says that a lease has ended. */
export function isLeaseGone(error: unknown): boolean {
  if (!(error instanceof WeirError) || error.code !== 'KVSTORE_REFUSED') return false;
  const { code, details } = error.cause as { readonly code: number; readonly details: string };
  return code === NOT_FOUND && details.includes('lease not found');
}
