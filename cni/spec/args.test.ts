import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePodArgs, podLabels, requestedBandwidth, requestedIps, requestedMtu } from './args.ts';
import { decodeConfig, type NetworkConfig } from './config.ts';
import { CNI_CODE, CniError, type CniCode } from './error.ts';

const config = (values: Record<string, unknown>): NetworkConfig =>
  decodeConfig({ path: '', values: { cniVersion: '1.0.0', name: 'weir', ...values } });

const fails = (code: CniCode, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, String(error));
  assert.equal(error.code, code);
  assert.match(`${error.message}\n${error.details}`, text);
  return true;
};

test('CNI_ARGS of Kubernetes runtimes', () => {
  const id = 'f'.repeat(64);
  const text = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=${id};K8S_POD_UID=a-b`;
  assert.deepEqual(parsePodArgs(text), { namespace: 'shop', name: 'web-0', uid: 'a-b' });
  assert.deepEqual(parsePodArgs('K8S_POD_NAME=a=b;'), { name: 'a=b' });
  for (const nothing of [undefined, '', ';', 'IgnoreUnknown=true;X=', 'K8S_POD_NAME=']) {
    assert.deepEqual(parsePodArgs(nothing), {});
  }
});

test('CNI_ARGS that are malformed or unknown are refused, unless the runtime says to ignore them', () => {
  assert.deepEqual(parsePodArgs('FOO=1;IgnoreUnknown=1'), {});
  assert.throws(() => parsePodArgs('FOO=1'), fails(CNI_CODE.invalidEnvironment, /free of FOO/));
  assert.throws(() => parsePodArgs('FOO=1;IgnoreUnknown=0'), fails(CNI_CODE.invalidEnvironment, /FOO/));
  assert.throws(() => parsePodArgs('IgnoreUnknown'), fails(CNI_CODE.invalidEnvironment, /KEY=VALUE/));
  assert.throws(() => parsePodArgs('=x'), fails(CNI_CODE.invalidEnvironment, /KEY=VALUE/));
});

test('labels come in three places and three forms; a later one wins', () => {
  const args = {
    labels: [{ key: 'app', value: 'old' }, { key: 'flag' }],
    'org.weir/labels': { app: 'web', 'other:team': 'a' },
    cni: { labels: ['app=new', 'k8s:a.b/c=d=e', 'bare'] },
  };
  assert.deepEqual(podLabels(config({ args })), [
    'k8s:app=new',
    'k8s:flag',
    'other:team=a',
    'k8s:a.b/c=d=e',
    'k8s:bare',
  ]);
  assert.deepEqual(podLabels(config({})), []);
  assert.deepEqual(podLabels(config({ args: { other: { deep: 1 } } })), []);
});

test('a label that is malformed, or would claim a reserved identity, is refused', () => {
  for (const [labels, why] of [
    [['=x'], /args\.labels\[0\]/],
    [[{ value: 'x' }], /args\.labels\[0\]/],
    [[{ key: 'a', value: 1 }], /args\.labels\[0\] is 1/],
    [[1], /args\.labels\[0\] is 1/],
    ['a=b', /args\.labels is "a=b"\n.*a list/],
    [['reserved:host'], /reserved/],
    [{ 'reserved:host': '' }, /reserved/],
    [[{ key: 'reserved:kube-apiserver', value: '' }], /reserved/],
    [[':a=b'], /source/],
  ] as const) {
    assert.throws(
      () => podLabels(config({ args: { labels } })),
      fails(CNI_CODE.invalidConfig, why),
      JSON.stringify(labels),
    );
  }
});

test('requested addresses: one of each family, the capability before the argument', () => {
  assert.deepEqual(requestedIps(config({})), {});
  assert.deepEqual(requestedIps(config({ runtimeConfig: { ips: ['10.0.0.9/24', 'fd00::9/64'] } })), {
    ipv4: '10.0.0.9',
    ipv6: 'fd00::9',
  });
  const both = config({ args: { cni: { ips: ['10.0.0.1'] } }, runtimeConfig: { ips: ['10.0.0.2'] } });
  assert.deepEqual(requestedIps(both), { ipv4: '10.0.0.2' });
  const two = config({ args: { cni: { ips: ['10.0.0.1', '10.0.0.2'] } } });
  assert.throws(() => requestedIps(two), fails(CNI_CODE.invalidConfig, /args\.cni\.ips/));
});

test('the MTU is a number of bytes that a link can have', () => {
  assert.equal(requestedMtu(config({})), undefined);
  assert.equal(requestedMtu(config({ mtu: 0 })), undefined);
  assert.equal(requestedMtu(config({ mtu: 9000 })), 9000);
  for (const mtu of [67, 65536, 1500.5, '1500', -1]) {
    assert.throws(() => requestedMtu(config({ mtu })), fails(CNI_CODE.invalidConfig, /mtu is/));
  }
});

test('bandwidth: rates of the capability in bits a second, bursts in bits', () => {
  const bandwidth = (values: unknown) => requestedBandwidth(config({ runtimeConfig: { bandwidth: values } }));
  assert.deepEqual(requestedBandwidth(config({})), {});
  assert.deepEqual(bandwidth(null), {});
  assert.deepEqual(bandwidth({ ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 8000 }), {});
  assert.deepEqual(bandwidth({ ingressRate: 1000, egressRate: 10_000_000, egressBurst: 8001 }), {
    ingress: { 'bits-per-second': 1000 },
    egress: { 'bits-per-second': 10_000_000, 'burst-bytes': 1001 },
  });
  for (const [values, why] of [
    [{ egressRate: 999 }, /runtimeConfig\.bandwidth\.egressRate/],
    [{ ingressRate: '10M' }, /runtimeConfig\.bandwidth\.ingressRate/],
    [{ ingressRate: 2e15 }, /runtimeConfig\.bandwidth\.ingressRate/],
    [{ ingressRate: 1e6, ingressBurst: -1 }, /runtimeConfig\.bandwidth\.ingressBurst/],
    ['10M', /runtimeConfig\.bandwidth/],
  ] as const) {
    assert.throws(() => bandwidth(values), fails(CNI_CODE.invalidConfig, why), JSON.stringify(values));
  }
});
