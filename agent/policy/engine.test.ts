import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../model/address.ts';
import { identityId, type Identity } from '../model/identity.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import { eachChange, type MapStateChanges } from '../model/mapstate.ts';
import { decodePolicy } from './api/index.ts';
import { DEFAULT_POLICY_CONFIG } from './config.ts';
import type { EndpointPolicy, PolicyBatch, PolicyEngine, Redirect } from './contract.ts';
import { createPolicyEngine } from './engine.ts';
import { Pace } from './pace.ts';

const WEB = identityId(1001);
const CLIENT = identityId(1002);
const WORLD = identityId(16777217);

function identity(id: number, ...labels: readonly string[]): Identity {
  return { id: identityId(id), labels: canonicalLabels(labels.map((text) => parseLabel(text))) };
}

function pod(id: number, app: string): Identity {
  return identity(
    id,
    `k8s:app=${app}`,
    'k8s:io.kubernetes.pod.namespace=shop',
    'k8s:io.cilium.k8s.policy.cluster=default',
  );
}

function policy(name: string, spec: Readonly<Record<string, unknown>>): NonNullable<PolicyBatch['policies']>[number] {
  const object = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name, namespace: 'shop' },
    spec: { endpointSelector: { matchLabels: { app: 'web' } }, ...spec },
  };
  const { rules, errors } = decodePolicy(object);
  assert.equal(errors, undefined);
  return { key: name, rules };
}

const tcp = (port: number | string) => [{ ports: [{ port: String(port), protocol: 'TCP' }] }];
const fromClients = { fromEndpoints: [{ matchLabels: { app: 'client' } }] };

function engineWith(batch: PolicyBatch, pace = new Pace()): PolicyEngine {
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG, pace);
  engine.apply({ identities: [pod(1001, 'web'), pod(1002, 'client')], ...batch });
  return engine;
}

function settle(engine: PolicyEngine): number {
  let turns = 0;
  for (const _turn of engine.refresh()) turns++;
  return turns;
}

function verdict(
  endpoint: EndpointPolicy,
  peer: number,
  port: number,
  direction: 'ingress' | 'egress' = 'ingress',
): string {
  return endpoint.mapState.lookup(direction, identityId(peer), 6, port).verdict;
}

test('identities come and go, and the changes say exactly what that means', () => {
  const engine = engineWith({ policies: [policy('p', { ingress: [{ ...fromClients, toPorts: tcp(80) }] })] });
  const told: MapStateChanges[] = [];
  const endpoint = engine.endpointPolicy({ identity: WEB, onChange: (changes) => told.push(changes) });
  /** Of each change the keys that came, and those that went. */
  const seen = () =>
    told.map((changes) => {
      const entries = [...eachChange(changes)];
      const keys = (kind: 'before' | 'after') => entries.flatMap(([k, one]) => (one[kind] === undefined ? [k] : []));
      return [keys('before'), keys('after')];
    });
  assert.equal(verdict(endpoint, 1002, 80), 'allow');
  engine.apply({ identities: [pod(1003, 'client'), pod(1004, 'other')] });
  const key = { direction: 'ingress', identity: 1003, protocol: 6, port: 80, portPrefix: 16 };
  assert.deepEqual(seen(), [[[key], []]]);
  engine.apply({ removedIdentities: [identityId(1003), identityId(1004)] });
  assert.deepEqual(seen()[1], [[], [key]]);
});

test('a policy replaces itself as a whole, and only endpoints that it is about are touched', () => {
  const engine = engineWith({ policies: [policy('p', { ingress: [fromClients] })] });
  const web = engine.endpointPolicy({ identity: WEB });
  let told = 0;
  const client = engine.endpointPolicy({ identity: CLIENT, onChange: () => told++ });
  engine.apply({ policies: [policy('p', { ingress: [{ fromEntities: ['host'] }] })] });
  assert.equal(verdict(web, 1002, 80), 'allow', 'nothing moves before refresh');
  settle(engine);
  assert.equal(verdict(web, 1002, 80), 'default-deny');
  assert.deepEqual([told, client.enforced, client.revision], [0, { ingress: false, egress: false }, engine.revision]);
  engine.apply({ policies: [], replaceAllPolicies: true });
  settle(engine);
  assert.equal(verdict(web, 1002, 80), 'allow');
});

test('S12: a direction that denies what nothing allows says because of whom', () => {
  const engine = engineWith({
    policies: [
      policy('p', { ingress: [fromClients] }),
      policy('open', { enableDefaultDeny: { ingress: false }, ingress: [fromClients] }),
    ],
    identities: [pod(1001, 'web'), pod(1002, 'client'), identity(5, 'reserved:init')],
  });
  const why = (of: PolicyEngine, subject: number, direction: 'ingress' | 'egress'): readonly string[] | undefined => {
    const reason = of.endpointPolicy({ identity: identityId(subject) }).defaultDeny[direction];
    return reason && [...reason.origins.map(({ name }) => name), ...(reason.derivedFrom ? [reason.derivedFrom] : [])];
  };
  assert.deepEqual(why(engine, 1001, 'ingress'), ['p']);
  assert.equal(why(engine, 1001, 'egress'), undefined);
  assert.equal(why(engine, 1002, 'ingress'), undefined);
  assert.deepEqual(why(engine, 5, 'egress'), ['reserved:init']);
  const always = createPolicyEngine({ ...DEFAULT_POLICY_CONFIG, enforcement: 'always' });
  always.apply({ identities: [pod(1001, 'web')], policies: [policy('p', { ingress: [fromClients] })] });
  assert.deepEqual(why(always, 1001, 'ingress'), ['p']);
  assert.deepEqual(why(always, 1001, 'egress'), ['policy-enforcement=always']);
});

const listener = (name: string) => ({
  toPorts: [{ ...tcp(80)[0], listener: { envoyConfig: { kind: 'CiliumEnvoyConfig', name: 'c' }, name } }],
});

test('S27: a contradiction is an error of the endpoint, which keeps what it has; a new one has nothing', () => {
  const engine = engineWith({ policies: [policy('a', { egress: [listener('l')] })] });
  const old = engine.endpointPolicy({ identity: WEB });
  engine.apply({ policies: [policy('b', { egress: [listener('m')] })] });
  settle(engine);
  assert.equal(old.error?.code, 'POLICY_CONFLICT');
  assert.match(
    old.error.message,
    /shop\/a spec\.egress\[0\] and CiliumNetworkPolicy shop\/b spec\.egress\[0\] contradict/,
  );
  assert.equal(verdict(old, 1002, 80, 'egress'), 'allow');
  old.dispose();
  const fresh = engine.endpointPolicy({ identity: WEB });
  assert.deepEqual(
    [fresh.error?.code, fresh.mapState.size, verdict(fresh, 1002, 80)],
    ['POLICY_CONFLICT', 0, 'default-deny'],
  );
  engine.apply({ policies: [{ key: 'b', rules: undefined }] });
  settle(engine);
  assert.deepEqual([fresh.error, verdict(fresh, 1002, 80, 'egress')], [undefined, 'allow']);
});

test('what a proxy must see is denied until there is a proxy, and denied again when it goes', () => {
  const http = [{ ...tcp(80)[0], rules: { http: [{ method: 'GET' }] } }];
  const engine = engineWith({ policies: [policy('p', { ingress: [{ ...fromClients, toPorts: http }] })] });
  let port = 0;
  const told: MapStateChanges[] = [];
  const endpoint = engine.endpointPolicy({
    identity: WEB,
    proxyPort: (redirect: Redirect) => (assert.equal(redirect.id, 'ingress:TCP:80:http'), port),
    onChange: (changes) => told.push(changes),
  });
  const entry = () => [...endpoint.mapState.entries()].find(([{ identity: id }]) => id === CLIENT)![1];
  assert.deepEqual([entry().deny, entry().proxyPort], [true, 0]);
  port = 15001;
  endpoint.update({ proxyPorts: true });
  assert.deepEqual([entry().deny, entry().proxyPort], [false, 15001]);
  assert.deepEqual(
    told.flatMap((changes) => Array.from(eachChange(changes), ([, one]) => [one.before?.deny, one.after?.proxyPort])),
    [[true, 15001]],
  );
  assert.deepEqual(
    endpoint.redirectPolicies().map(({ identities, l7 }) => [identities, l7.rules]),
    [[[CLIENT], [{ method: 'GET' }]]],
  );
});

test("S35: names of ports are the endpoint's own on ingress, each destination's on egress", () => {
  const toPorts = tcp('web');
  const engine = engineWith({ policies: [policy('p', { ingress: [{ toPorts }], egress: [{ toPorts }] })] });
  const endpoint = engine.endpointPolicy({ identity: WEB });
  assert.equal(verdict(endpoint, 1002, 8080), 'default-deny');
  assert.deepEqual(endpoint.warnings, ['port web of ingress rules is unknown on this endpoint']);
  endpoint.update({ namedPorts: [{ name: 'web', port: 8080, protocol: 6 }] });
  assert.deepEqual([verdict(endpoint, 1002, 8080), endpoint.warnings], ['allow', []]);
  assert.equal(verdict(endpoint, 1002, 9090, 'egress'), 'default-deny');
  engine.apply({ namedPorts: [{ identity: CLIENT, ports: [{ name: 'web', port: 9090, protocol: 6 }] }] });
  assert.deepEqual(
    [verdict(endpoint, 1002, 9090, 'egress'), verdict(endpoint, 1001, 9090, 'egress')],
    ['allow', 'default-deny'],
  );
});

test('CIDR groups and services are followed', () => {
  const groups = { fromCIDRSet: [{ cidrGroupRef: 'office' }] };
  const services = { toServices: [{ k8sService: { serviceName: 'db', namespace: 'shop' } }] };
  const engine = engineWith({ policies: [policy('p', { ingress: [groups], egress: [services] })] });
  engine.apply({ identities: [identity(WORLD, 'cidr:10.1.2.3/32', 'reserved:world-ipv4')] });
  const endpoint = engine.endpointPolicy({ identity: WEB });
  const both = () => [verdict(endpoint, WORLD, 80), verdict(endpoint, WORLD, 80, 'egress')];
  assert.deepEqual(both(), ['default-deny', 'default-deny']);
  const group = { name: 'office', labels: [], cidrs: [parseCidr('10.0.0.0/8')] };
  const service = { namespace: 'shop', name: 'db', labels: [], backends: [parseCidr('10.1.2.3').address] };
  engine.apply({ cidrGroups: [{ name: 'office', group }], services: [{ namespace: 'shop', name: 'db', service }] });
  assert.deepEqual(both(), ['allow', 'allow']);
  engine.apply({
    cidrGroups: [{ name: 'office', group: undefined }],
    services: [{ namespace: 'shop', name: 'db', service: undefined }],
  });
  assert.deepEqual(both(), ['default-deny', 'default-deny']);
});

test('cookies name the rules that decide, and are forgotten with them', () => {
  const engine = engineWith({ policies: [policy('p', { ingress: [fromClients] })] });
  const endpoint = engine.endpointPolicy({ identity: WEB });
  const cookie = endpoint.mapState.lookup('ingress', CLIENT, 6, 80).entry!.cookie;
  assert.deepEqual(
    engine.cookie(cookie)?.origins.map(({ name, path }) => [name, path]),
    [['p', 'spec.ingress[0]']],
  );
  for (let i = 0; i < 200; i++) {
    engine.apply({ policies: [policy('p', { ingress: Array.from({ length: i + 1 }, () => fromClients) })] });
    settle(engine);
  }
  assert.equal(engine.cookie(cookie), undefined);
});

test('endpoints of one identity share their policy, and the last one takes it away', () => {
  const engine = engineWith({ policies: [policy('p', { ingress: [fromClients] })] });
  const [a, b] = [engine.endpointPolicy({ identity: WEB }), engine.endpointPolicy({ identity: WEB })];
  const users = () => engine.selectors().map(({ users: count }) => count);
  const before = users();
  a.dispose();
  assert.deepEqual(users(), before);
  b.dispose();
  assert.deepEqual(engine.selectors(), []);
});

test('what is prepared is there at once, and a change during a refresh is not lost', () => {
  const many = Array.from({ length: 300 }, (_, i) =>
    policy(`p${i}`, { ingress: [{ fromEndpoints: [{ matchLabels: { app: `a${i}` } }] }] }),
  );
  const engine = engineWith({ policies: many }, new Pace(1));
  for (const _turn of engine.prepare(WEB));
  assert.equal(engine.selectors().length, 301);
  const endpoint = engine.endpointPolicy({ identity: WEB });
  engine.apply({ policies: [policy('p0', { ingress: [fromClients] })] });
  const refresh = engine.refresh();
  refresh.next();
  engine.apply({ policies: [policy('p0', { ingress: [{ fromEntities: ['all'] }] })] });
  for (const _turn of refresh);
  assert.equal(verdict(endpoint, 4242, 80), 'allow', 'a change in between is not lost');
});

test('an identity that is prepared in vain takes its policy along', () => {
  const engine = engineWith({ policies: [policy('p', { ingress: [fromClients] })] });
  for (const _turn of engine.prepare(WEB));
  assert.notDeepEqual(engine.selectors(), []);
  engine.apply({ removedIdentities: [WEB] });
  assert.deepEqual(engine.selectors(), []);
});

test('endpoints of one identity that come at once share the work, while policies change under them', () => {
  const many = Array.from({ length: 100 }, (_, i) =>
    policy(`p${i}`, { ingress: [{ fromEndpoints: [{ matchLabels: { app: `a${i}` } }] }] }),
  );
  const engine = engineWith({ policies: many }, new Pace(1));
  const coming = [1, 2, 3].map(() => engine.prepare(WEB));
  let turns = 0;
  const step = (): boolean => coming.map((work) => work.next().done === true).every(Boolean);
  for (; !step(); turns++) {
    if (turns === 20) engine.apply({ policies: [policy('p0', { ingress: [fromClients] })] });
    if (turns === 40) for (const _turn of engine.refresh());
    if (turns === 60) engine.apply({ identities: [pod(1003, 'a7')] });
  }
  const endpoints = coming.map(() => engine.endpointPolicy({ identity: WEB }));
  for (const endpoint of endpoints) {
    assert.equal(verdict(endpoint, 1002, 80), 'allow');
    assert.equal(verdict(endpoint, 1003, 80), 'allow');
    assert.equal(verdict(endpoint, 4242, 80), 'default-deny');
  }
  assert.ok(engine.selectors().every(({ users }) => users === 1));
  for (const endpoint of endpoints) endpoint.dispose();
  assert.deepEqual(engine.selectors(), [], 'nothing is left of what was made in vain');
});

test('an identity that goes while its policy is prepared leaves nothing', () => {
  const many = Array.from({ length: 20 }, (_, i) =>
    policy(`p${i}`, { ingress: [{ fromEndpoints: [{ matchLabels: { app: `a${i}` } }] }] }),
  );
  for (let stop = 1; stop < 120; stop += 7) {
    const engine = engineWith({ policies: many }, new Pace(1));
    const work = engine.prepare(WEB);
    for (let i = 0; i < stop; i++) work.next();
    engine.apply({ removedIdentities: [WEB] });
    for (const _turn of work);
    assert.deepEqual(engine.selectors(), [], `after ${stop} turns`);
  }
});
