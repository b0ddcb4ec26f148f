import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseCidr } from '../model/address.ts';
import { canonicalLabels, formatLabel, LABEL, parseLabel } from '../model/labels.ts';
import labelVectors from '../../test/conformance/units/labels.json' with { type: 'json' };
import filterVectors from '../../test/conformance/units/label-filter.json' with { type: 'json' };
import { cidrLabel, cidrLabels } from './cidr-labels.ts';
import { DEFAULT_LABEL_RULES, LabelFilter } from './label-filter.ts';
import { podLabels } from './pod-labels.ts';
import { RESERVED_IDENTITIES, reservedIdentity, scopeOf } from './reserved.ts';

const texts = (labels: Parameters<typeof canonicalLabels>[0]): string[] => [...labels].map(formatLabel).sort();
const labels = (...list: string[]) => canonicalLabels(list.map((text) => parseLabel(text)));

describe('labels of a pod (S3, S4)', () => {
  for (const [i, vector] of filterVectors.cases.entries()) {
    test(`vector ${i}`, () => {
      const { pod } = vector;
      const all = podLabels(
        {
          namespace: pod.namespace,
          labels: pod.labels,
          namespaceLabels: pod.namespaceLabels ?? {},
          serviceAccount: pod.serviceAccount,
        },
        filterVectors.clusterName,
      );
      const split = new LabelFilter().split(all);
      assert.deepEqual(texts(split.identity), vector.identityLabels);
      assert.deepEqual(texts(split.information), vector.informationLabels);
    });
  }

  test('the default rules are the peer’s', () => {
    assert.deepEqual(DEFAULT_LABEL_RULES, filterVectors.defaultPrefixes);
  });

  test('a configured include closes the filter to all else but the defaults', () => {
    const filter = new LabelFilter(['k8s:app$', '!:secret']);
    const split = filter.split(labels('k8s:app=a', 'k8s:apple=b', `k8s:${LABEL.podNamespace}=n`, 'any:app=c'));
    assert.deepEqual(texts(split.identity), ['k8s:app=a', `k8s:${LABEL.podNamespace}=n`]);
  });

  test('a pattern that does not compile is an error of the configuration', () => {
    assert.throws(() => new LabelFilter(['k8s:(']), { code: 'CONFIG_INVALID' });
  });
});

describe('labels of a prefix (S21)', () => {
  const families = {
    v4only: { ipv4: true, ipv6: false },
    v6only: { ipv4: false, ipv6: true },
    dual: { ipv4: true, ipv6: true },
  };
  for (const vector of labelVectors.cidr) {
    test(`${vector.input}, ${vector.mode}`, () => {
      const served = families[vector.mode as keyof typeof families];
      if (vector.error !== undefined) {
        assert.throws(() => parseCidr(vector.input), { code: 'ADDRESS_INVALID' });
        return;
      }
      const cidr = parseCidr(vector.input);
      if (vector.identityLabels !== undefined) assert.deepEqual(texts(cidrLabels(cidr, served)), vector.identityLabels);
      if (cidr.length > 0) assert.equal(formatLabel(cidrLabel(cidr)), vector.selectorLabel);
    });
  }
});

describe('reserved identities and scopes (S1, S2)', () => {
  test('numbers and labels', () => {
    assert.deepEqual(
      RESERVED_IDENTITIES.map(({ id, labels: own }) => `${id} ${own.map(formatLabel).join(' ')}`),
      [
        '1 reserved:host',
        '2 reserved:world',
        '3 reserved:unmanaged',
        '4 reserved:health',
        '5 reserved:init',
        '6 reserved:remote-node',
        '7 reserved:kube-apiserver reserved:remote-node',
        '8 reserved:ingress',
        '9 reserved:world-ipv4',
        '10 reserved:world-ipv6',
      ],
    );
  });

  test('exact label sets find their reserved identity', () => {
    assert.equal(reservedIdentity(labels('reserved:remote-node', 'reserved:kube-apiserver'))?.id, 7);
    assert.equal(reservedIdentity(labels('reserved:world-ipv6'))?.id, 10);
    assert.equal(reservedIdentity(labels('reserved:init', 'k8s:a=b')), undefined);
  });

  for (const [scope, set] of [
    ['cluster', ['k8s:app=web']],
    ['cluster', ['reserved:host', 'k8s:node=a']],
    ['local', ['cidr:10.0.0.0/8', 'reserved:world-ipv4']],
    ['local', ['reserved:kube-apiserver', 'reserved:world']],
    ['local', ['fqdn:*.example.com', 'reserved:world-ipv4', 'cidrgroup:vpn']],
    ['cluster', ['cidr:10.0.0.0/8', 'k8s:app=web']],
    ['remoteNode', ['reserved:remote-node', 'node:zone=a']],
  ] as const) {
    test(`${set.join(' ')} is of the scope ${scope}`, () => assert.equal(scopeOf(labels(...set)), scope));
  }
});
