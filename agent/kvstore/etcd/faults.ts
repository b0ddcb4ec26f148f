/** What is wrong with a store, told from what it says. */
import { WeirError } from '../../model/errors.ts';

/** gRPC's; the library itself is left to those who speak to a store. */
const NOT_FOUND = 5;

/** Whether the store says that a lease has ended. */
export function isLeaseGone(error: unknown): boolean {
  if (!(error instanceof WeirError) || error.code !== 'KVSTORE_REFUSED') return false;
  const { code, details } = error.cause as { readonly code: number; readonly details: string };
  return code === NOT_FOUND && details.includes('lease not found');
}

/** Why there is no connection: what gRPC says of it, without its wrapping, and what helps against it where that is known. */
export function connectionFault(details: string): { readonly message: string; readonly remedy?: string } {
  const reason = details
    .replace(/^No connection established\. Last error: (Error: )?/, '')
    .replace(/ *(\(\d{4}-\d\d-\d\dT[^)]*\)\.)? *Resolution note: .*$/s, '')
    // A hint of Node to those who start it by hand.
    .replace(/; if the root CA is installed locally.*$/, '')
    .trim();
  const alert = /ssl\/tls alert ([\w ]+)/.exec(reason)?.[1];
  if (alert !== undefined)
    return {
      message: `etcd refuses the certificate of this client: ${alert.trim()}`,
      remedy: 'name a certificate of an authority that etcd trusts: cert-file and key-file in the file of etcd.config',
    };
  if (/certificate|altnames/i.test(reason))
    return {
      message: `the certificate of etcd is not trusted: ${reason}`,
      remedy:
        'name the authority of that certificate, which has to be for this address: trusted-ca-file in the file of etcd.config',
    };
  return { message: reason };
}
