import { object, string, then, type Decoder } from './decode.ts';

/** A reference to a Kubernetes secret. */
export const secret = object({ namespace: string, name: string });

/** `terminatingTLS`, `originatingTLS`: where keys and certificates lie. */
export const tlsContext: Decoder<Readonly<Record<string, unknown>>> = then(
  object({ secret, trustedCA: string, certificate: string, privateKey: string }),
  (context, reading) => {
    if (context.secret === undefined || (context.secret.name ?? '') === '') {
      reading.schemaIssue('the secret is not named', { under: ['secret'], remedy: 'set secret.name' });
    }
    return { ...context };
  },
);
