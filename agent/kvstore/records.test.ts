import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parseAddress, parseCidr } from '../model/address.ts';
import { identityId } from '../model/identity.ts';
import { parseEtcdOptions } from '../model/kvstore.ts';
import { PROTOCOL } from '../model/port.ts';
import { loadEtcdConfig } from './etcd/config.ts';
import { prefixEnd } from './etcd/txn.ts';
import { labelsOfUser, labelsText, parseLabels } from './layout.ts';
import { decodeIp, decodeNode, encodeIp, encodeNode } from './records.ts';
import { labelsOf } from './testing.ts';

describe('what stands in the store', () => {
  const ip = {
    ...{ address: parseAddress('10.0.0.7'), identity: identityId(4711), nodeAddress: parseAddress('192.0.2.1') },
    ...{ namespace: 'default', name: 'web', namedPorts: [{ name: 'http', port: 8080, protocol: PROTOCOL.TCP }] },
  };

  test('an address is an IPIdentityPair', () => {
    assert.deepEqual(JSON.parse(encodeIp(ip)), {
      ...{ IP: '10.0.0.7', Mask: null, HostIP: '192.0.2.1', ID: 4711, Key: 0, Metadata: '' },
      ...{ K8sNamespace: 'default', K8sPodName: 'web', NamedPorts: [{ Name: 'http', Port: 8080, Protocol: 'TCP' }] },
    });
    assert.deepEqual(decodeIp('10.0.0.7', encodeIp(ip)), ip);
  });

  test('a pair of Cilium’s is read; a prefix is no endpoint; what is none is named', () => {
    const pair = '{"IP":"fd00::7","Mask":null,"HostIP":"","ID":300,"Key":0,"Metadata":"cilium-global:x"}';
    assert.deepEqual(decodeIp('fd00::7', pair), {
      ...{ address: parseAddress('fd00::7'), identity: 300, nodeAddress: undefined },
      ...{ namespace: '', name: '', namedPorts: [] },
    });
    assert.equal(decodeIp('x', '{"IP":"10.0.0.0","Mask":"//8AAA==","ID":2}'), undefined);
    for (const bad of ['', '[]', '{"IP":"nowhere","ID":1}', '{"IP":"10.0.0.7","ID":"1"}', '{"IP":"10.0.0.7","ID":-1}'])
      assert.throws(() => decodeIp('10.0.0.7', bad), { code: 'RESOURCE_INVALID', object: 'key 10.0.0.7' });
  });

  test('a node is Cilium’s, its prefixes as Go writes them', () => {
    const node = {
      ...{ name: 'n1', cluster: 'default', health: [], ingress: [parseAddress('10.0.0.9')] },
      addresses: [{ type: 'InternalIP' as const, address: parseAddress('192.0.2.1') }],
      podCidrs: [parseCidr('10.244.0.0/20'), parseCidr('fd00:1::/64')],
      labels: new Map([['zone', 'a']]),
    };
    const json = JSON.parse(encodeNode(node)) as Record<string, unknown>;
    assert.deepEqual(json['IPAddresses'], [{ Type: 'InternalIP', IP: '192.0.2.1' }]);
    assert.deepEqual(json['IPv4AllocCIDR'], { IP: '10.244.0.0', Mask: '///wAA==' });
    assert.deepEqual(json['Labels'], { zone: 'a' });
    const { name, addresses, podCidrs, health, ingress } = node;
    assert.deepEqual(decodeNode('n1', JSON.stringify(json)), { name, addresses, podCidrs, health, ingress });
    assert.equal(json['Cluster'], 'default');
    assert.throws(() => decodeNode('n1', '{"IPAddresses":[{"Type":"InternalIP","IP":"x"}]}'), {
      code: 'RESOURCE_INVALID',
    });
  });

  test('labels are text and back; a user’s key ends with the node, whatever the labels hold', () => {
    const labels = labelsOf('k8s:b=2', 'k8s:a=x/y=z', 'k8s:empty');
    const text = labelsText(labels);
    assert.equal(text, 'k8s:a=x/y=z;k8s:b=2;k8s:empty=;');
    assert.deepEqual(parseLabels(text), labels);
    assert.equal(labelsOfUser(`${text}/node1`), text);
    for (const none of ['', ';', 'nonsense', 'k8s:a=1;x']) assert.equal(parseLabels(none), undefined);
  });

  test('the end of a prefix', () => {
    assert.equal(prefixEnd('a/').toString(), 'a0');
    assert.deepEqual(prefixEnd(''), Buffer.of(0));
  });
});

describe('how to reach etcd', () => {
  test('options one by one, or as one JSON object', () => {
    assert.deepEqual(parseEtcdOptions(['etcd.config=/a', 'etcd.address=http://b:1']), {
      ...{ config: '/a', addresses: ['http://b:1'] },
    });
    // As a list of settings takes it apart.
    assert.deepEqual(parseEtcdOptions(['{"etcd.config":"/a"', '"etcd.operator":"true"}']), {
      ...{ config: '/a', addresses: [] },
    });
    for (const bad of [[], ['etcd.adress=x'], ['etcd.config'], ['{"etcd.config":1}'], ['{']])
      assert.throws(() => parseEtcdOptions(bad), { code: 'CONFIG_INVALID' });
  });

  test('a file of etcd’s own client', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'weir-etcd-'));
    try {
      const config = path.join(folder, 'etcd.config');
      writeFileSync(path.join(folder, 'ca'), 'authority');
      const files = `trusted-ca-file: ${folder}/ca\nusername: weir\npassword: secret\n`;
      writeFileSync(config, `endpoints:\n- https://a:2379\n- https://b:2379\n${files}`);
      const loaded = loadEtcdConfig({ config, addresses: [] });
      assert.deepEqual(loaded.endpoints, ['https://a:2379', 'https://b:2379']);
      assert.equal(loaded.tls?.ca?.toString(), 'authority');
      assert.deepEqual(loaded.auth, { username: 'weir', password: 'secret' });
      assert.deepEqual(loadEtcdConfig({ config, addresses: ['http://c:1'] }).endpoints, ['http://c:1']);
      for (const bad of ['endpoints: x', '- a', 'endpoints: [https://a:1]\nca-file: /nowhere/ca', 'endpoints: []']) {
        writeFileSync(config, bad);
        assert.throws(() => loadEtcdConfig({ config, addresses: [] }), { code: 'CONFIG_INVALID' });
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
