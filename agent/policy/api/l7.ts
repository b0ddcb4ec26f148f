/** Layer 7 of one `toPorts` item: which proxy reads the traffic, and by which rules. Carried to the proxies as data. */
import type { L7Spec } from '../rule.ts';
import { integer, list, object, oneOf, string, type DecodedObject } from './decode.ts';
import { dnsRule } from './l7-dns.ts';
import { httpRule } from './l7-http.ts';
import type { Reading } from './reading.ts';
import { tlsContext } from './tls-context.ts';

const rules = object(
  { http: list(httpRule), dns: list(dnsRule) },
  {
    kafka: 'Kafka rules are gone: allow the port, or use listener',
    l7proto: 'generic rules are gone: use listener',
    l7: 'generic rules are gone: use listener',
  },
);

const LISTENER_KINDS = ['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig'] as const;

const listener = object({
  envoyConfig: object({ kind: oneOf('kind', LISTENER_KINDS), name: string }),
  name: string,
  priority: integer,
});

/** The fields of a `toPorts` item that say something about layer 7. */
export const l7Fields = {
  rules,
  listener,
  terminatingTLS: tlsContext,
  originatingTLS: tlsContext,
  serverNames: list(string),
};

export type L7Draft = DecodedObject<typeof l7Fields>;

/** Checks what contradicts itself, and gives the spec; undefined when layer 7 is left alone. */
export function l7Spec(draft: L7Draft, portCount: number, reading: Reading): L7Spec | undefined {
  checkRules(draft, portCount, reading);
  checkListener(draft, reading);
  checkServerNames(draft, reading);
  const parser = parserOf(draft);
  if (parser === undefined) return undefined;
  const { listener: envoy, terminatingTLS, originatingTLS, serverNames = [] } = draft;
  return {
    parser,
    rules: (parser === 'dns' ? draft.rules?.dns : draft.rules?.http) ?? [],
    ...(envoy === undefined ? {} : { listener: listenerOf(envoy, reading) }),
    ...(terminatingTLS === undefined ? {} : { terminatingTLS }),
    ...(originatingTLS === undefined ? {} : { originatingTLS }),
    ...(serverNames.length === 0 ? {} : { serverNames }),
  };
}

/** Whether there are layer 7 rules; an empty list is none. */
export function hasL7Rules(draft: L7Draft): boolean {
  return (draft.rules?.http ?? []).length + (draft.rules?.dns ?? []).length > 0;
}

function parserOf({ listener: envoy, rules: found, terminatingTLS, originatingTLS, serverNames = [] }: L7Draft) {
  if (envoy !== undefined) return 'crd';
  if ((found?.dns ?? []).length > 0) return 'dns';
  if ((found?.http ?? []).length > 0) return 'http';
  return terminatingTLS !== undefined || originatingTLS !== undefined || serverNames.length > 0 ? 'tls' : undefined;
}

function checkRules(draft: L7Draft, portCount: number, reading: Reading): void {
  if (!hasL7Rules(draft)) return;
  const { http = [], dns = [] } = draft.rules ?? {};
  const { direction, hostPolicy } = reading.scope;
  reading.enter('rules');
  if (!reading.options.l7Proxy) {
    reading.issue('layer 7 rules need the proxy, which is off', {
      remedy: 'turn on enable-l7-proxy, or remove the rules',
    });
  }
  if (http.length > 0 && dns.length > 0) {
    reading.issue('several kinds of layer 7 rules on one port', { remedy: 'write one toPorts item per kind' });
  }
  if (hostPolicy && direction === 'ingress') {
    reading.issue("layer 7 rules are not supported on the host's ingress", { remedy: 'allow the port without rules' });
  }
  if (hostPolicy && direction === 'egress' && http.length > 0) {
    reading.issue("HTTP rules are not supported on the host's egress", {
      under: ['http'],
      remedy: 'allow the port without rules',
    });
  }
  if (direction === 'ingress' && dns.length > 0) {
    reading.issue('DNS rules are not supported on ingress', {
      under: ['dns'],
      remedy: 'write them in an egress rule of the clients',
    });
  }
  if (dns.length > 0 && portCount === 0) {
    reading.issue('DNS rules need a port', { under: ['dns'], remedy: 'add port "53" to ports' });
  }
  reading.leave();
}

function checkListener(draft: L7Draft, reading: Reading): void {
  const envoy = draft.listener;
  if (envoy === undefined) return;
  const { name = '', priority } = envoy;
  if (reading.scope.direction === 'ingress') {
    reading.issue('a listener is not supported on ingress', {
      under: ['listener'],
      value: name,
      remedy: 'use it in an egress rule',
    });
  }
  if (hasL7Rules(draft)) {
    reading.issue('a listener excludes layer 7 rules', {
      under: ['listener'],
      value: name,
      remedy: 'remove rules or listener',
    });
  }
  if (name === '')
    reading.schemaIssue('the listener has no name', { under: ['listener'], remedy: 'set listener.name' });
  if (priority !== undefined && (priority < 0 || priority > 100)) {
    reading.schemaIssue('is not a priority', {
      under: ['listener', 'priority'],
      value: priority,
      remedy: 'give 1 to 100',
    });
  }
}

function checkServerNames(draft: L7Draft, reading: Reading): void {
  const { serverNames = [], terminatingTLS } = draft;
  for (const [i, name] of serverNames.entries()) {
    if (name === '')
      reading.issue('the server name is empty', { under: ['serverNames', i], value: name, remedy: 'remove it' });
  }
  if (serverNames.length > 0 && hasL7Rules(draft) && terminatingTLS === undefined) {
    reading.issue('server names with layer 7 rules need TLS to be terminated', {
      under: ['serverNames'],
      value: serverNames,
      remedy: 'add terminatingTLS, or remove the rules',
    });
  }
}

/** The configuration a listener lies in, as `namespace/name`; of a clusterwide one the namespace is empty. */
function listenerOf(envoy: NonNullable<L7Draft['listener']>, { scope }: Reading): NonNullable<L7Spec['listener']> {
  const { envoyConfig: { kind, name: config = '' } = {}, name = '', priority = 0 } = envoy;
  const namespace = kind === 'CiliumClusterwideEnvoyConfig' ? '' : scope.namespace;
  const namespaceMissing = kind === 'CiliumEnvoyConfig' && namespace === '';
  return { config: `${namespace}/${config}`, name, priority, ...(namespaceMissing ? { namespaceMissing } : {}) };
}
