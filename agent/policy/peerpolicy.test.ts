import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergePeerPolicies, peerPolicy, withWildcard, type PeerPolicy } from './peerpolicy.ts';
import type { AuthMode, L7Spec, RuleStanza } from './rule.ts';

const UDP = 17;
const TCP = 6;

function stanza(name: string, action: RuleStanza['action'] = 'allow', auth?: AuthMode): RuleStanza {
  const origin = { kind: 'CiliumNetworkPolicy', namespace: 'ns', name, uid: '', path: 'spec.egress[0]' } as const;
  return {
    origin,
    direction: 'egress',
    action,
    peers: undefined,
    ports: undefined,
    ...(auth === undefined ? {} : { auth }),
  };
}

function said(name: string, l7?: L7Spec, action?: RuleStanza['action'], auth?: AuthMode): PeerPolicy {
  return peerPolicy({ stanza: stanza(name, action, auth), log: undefined }, TCP, l7, 'ns');
}

function merge(a: PeerPolicy, b: PeerPolicy): PeerPolicy {
  return mergePeerPolicies(a, b, 'egress TCP/80');
}

const get = { method: 'GET' };
const http = (...rules: L7Spec['rules']): L7Spec => ({ parser: 'http', rules });
const crd = (name: string, priority = 0): L7Spec => ({
  parser: 'crd',
  rules: [],
  listener: { config: 'ns/c', name, priority },
});
const sni = (...serverNames: string[]): L7Spec => ({ parser: 'tls', rules: [], serverNames });

test('S26: rules beside none keep the redirect and gain one that allows everything, in either order', () => {
  for (const merged of [merge(said('a'), said('b', http(get))), merge(said('b', http(get)), said('a'))]) {
    assert.deepEqual([merged.parser, merged.rules, merged.listenerPriority], ['http', [get, {}], 101]);
  }
  assert.deepEqual(withWildcard('dns', [{ matchName: 'a' }]), [{ matchName: 'a' }, { matchPattern: '*' }]);
});

test('rules of several stanzas are joined, each once; so are server names (S28)', () => {
  assert.deepEqual(merge(said('a', http(get)), said('b', http(get, { method: 'PUT' }))).rules, [
    get,
    { method: 'PUT' },
  ]);
  assert.deepEqual(merge(said('a', sni('b.x', 'a.x')), said('b', sni('c.x', 'a.x'))).serverNames, [
    'a.x',
    'b.x',
    'c.x',
  ]);
});

test('S27: contradictions are errors that name both rules', () => {
  const contradictions: readonly (readonly [PeerPolicy, PeerPolicy, RegExp])[] = [
    [said('a', http(get)), said('b', crd('l')), /parsers http and crd/],
    [said('a', crd('l')), said('b', crd('m')), /listeners ns\/c\/l and ns\/c\/m of equal priority 126/],
    [
      said('a', undefined, 'allow', 'required'),
      said('b', undefined, 'allow', 'disabled'),
      /modes required and disabled/,
    ],
    [
      said('a', { ...http(get), terminatingTLS: { secret: 's' } }),
      said('b', { ...http(get), terminatingTLS: { secret: 't' } }),
      /terminating TLS contexts/,
    ],
    [said('a', http(get)), said('b', sni('a.x')), /server names and layer 7 rules/],
  ];
  for (const [a, b, message] of contradictions) {
    assert.throws(
      () => merge(a, b),
      (error: Error & { code?: string }) => {
        assert.match(error.message, /^CiliumNetworkPolicy ns\/a .* CiliumNetworkPolicy ns\/b .* on egress TCP\/80: /);
        assert.match(error.message, message);
        return error.code === 'POLICY_CONFLICT';
      },
    );
  }
});

test('of two listeners the one of lower priority number stands', () => {
  assert.equal(merge(said('a', crd('l', 20)), said('b', crd('m', 10))).listener, 'ns/c/m');
  assert.equal(merge(said('a', crd('l', 10)), said('b', crd('m', 20))).listener, 'ns/c/l');
});

test('deny beats allow, allow beats pass, and what loses says nothing', () => {
  const denied = merge(said('a', http(get)), said('b', undefined, 'deny'));
  assert.deepEqual([denied.verdict, denied.parser, denied.sources.length], ['deny', '', 1]);
  assert.equal(merge(said('a', undefined, 'pass'), said('b')).verdict, 'allow');
});

test('what only TCP knows is left out of the other protocols that ANY stands for', () => {
  const on = (protocol: number, l7: L7Spec): string =>
    peerPolicy({ stanza: stanza('a'), log: undefined }, protocol, l7, 'ns').parser;
  assert.deepEqual(
    [on(UDP, http(get)), on(UDP, { parser: 'dns', rules: [] }), on(TCP, http(get))],
    ['', 'dns', 'http'],
  );
});

test('a namespaced listener in a clusterwide policy is that of the pod, and nobody without a namespace has one', () => {
  const l7 = { parser: 'crd', rules: [], listener: { config: '/c', name: 'l', priority: 0, namespaceMissing: true } };
  const source = { stanza: stanza('a'), log: undefined };
  assert.equal(peerPolicy(source, TCP, l7, 'shop').listener, 'shop/c/l');
  assert.throws(() => peerPolicy(source, TCP, l7, ''), { code: 'POLICY_CONFLICT' });
});
