import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatCidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { readInvocation, type Config } from './config.ts';
import { helpText, OPTIONS } from './options.ts';

const config = (argv: string[], environment: NodeJS.ProcessEnv = {}): Config => {
  const invocation = readInvocation(argv, environment);
  assert.ok('config' in invocation);
  return invocation.config;
};

const CIDR = ['--pod-cidr', '10.0.0.0/24'];

describe('configuration', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'weir-config-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  test('has sensible defaults and is frozen', () => {
    const made = config(CIDR);
    assert.equal(made.socket, '/run/weir/weir.sock');
    assert.equal(made.deleteQueue, '/run/weir/deleteQueue');
    assert.equal(made.metricsListen, undefined);
    assert.equal(made.policyEnforcement, 'default');
    assert.deepEqual([made.mtu, made.warmPrograms], [undefined, 24]);
    assert.ok(Object.isFrozen(made));
  });

  test('the command line goes before the environment, the environment before the file', () => {
    const file = join(dir, 'order.yaml');
    writeFileSync(file, 'pod-cidr: [10.3.0.0/24, "fd00::/64"]\nmtu: 1400\ncluster-name: three\nnode-name: n3\n');
    const made = config(['--config', file, '--node-name', 'n1'], { WEIR_NODE_NAME: 'n2', WEIR_CLUSTER_NAME: 'two' });
    assert.deepEqual([made.nodeName, made.clusterName, made.mtu], ['n1', 'two', 1400]);
    assert.deepEqual(Object.values(made.podCidrs).map(formatCidr), ['10.3.0.0/24', 'fd00::/64']);
  });

  test('lists repeat, or are separated by commas', () => {
    const made = config(['--pod-cidr', '10.0.0.0/24,fd00::/64', '--devices', 'eth0', '--devices', 'eth1, eth2']);
    assert.deepEqual(Object.keys(made.podCidrs), ['ipv4', 'ipv6']);
    assert.deepEqual(made.devices, ['eth0', 'eth1', 'eth2']);
  });

  test('a key-value store: Cilium’s names, both spellings of the mode, and what does not go together', () => {
    const store = ['--kvstore', 'etcd', '--kvstore-opt', 'etcd.address=http://a:1,etcd.config=/b'];
    for (const mode of ['--identity-allocation-mode=kvstore', '--identity-allocation=kvstore', '--kvstore=etcd']) {
      const made = config([...CIDR, mode, ...store]);
      assert.equal(made.identityAllocation, 'kvstore');
      assert.deepEqual(made.kvstore, { addresses: ['http://a:1'], config: '/b', leaseTtlSeconds: 900 });
    }
    assert.equal(config(CIDR).kvstore, undefined);
    const wrong = [
      ['--identity-allocation-mode', 'kvstore'],
      ['--kvstore', 'consul'],
      ['--kvstore', 'etcd'],
      [...store, '--identity-allocation', 'file'],
      [...store, '--kvstore-lease-ttl', '1s'],
    ];
    for (const flags of wrong) assert.throws(() => config([...CIDR, ...flags]), { code: 'CONFIG_INVALID' });
  });

  test('metrics listen on a host and a port, also of IPv6', () => {
    assert.deepEqual(config([...CIDR, '--metrics-listen', ':9962']).metricsListen, { host: '::', port: 9962 });
    assert.deepEqual(config([...CIDR, '--metrics-listen', '[::1]:1']).metricsListen, { host: '::1', port: 1 });
  });

  test('the DNS proxy: inside the agent unless a socket says where it is', () => {
    assert.equal(config(CIDR).dnsProxy.socket, undefined);
    const made = config([...CIDR, '--dns-proxy-socket', '/run/x.sock', '--tofqdns-proxy-response-max-delay', '20ms']);
    assert.deepEqual(
      [made.dnsProxy.socket, made.dnsProxy.maxDelayMs, made.dnsProxy.reject],
      ['/run/x.sock', 20, 'refused'],
    );
    assert.throws(() => config([...CIDR, '--tofqdns-dns-reject-response-code', 'NXDOMAIN']), {
      field: '--tofqdns-dns-reject-response-code',
    });
  });

  test('events: all types, traces at medium aggregation, and a burst of a second when a rate is given', () => {
    const defaults = { drops: true, verdicts: true, traces: true, aggregation: 'medium', intervalMs: 5000, flags: 7 };
    assert.deepEqual(config(CIDR).events, { ...defaults, rate: 0, burst: 0 });
    const few = ['--monitor-aggregation-flags', 'PSH,cwr', '--bpf-events-default-rate-limit', '50'];
    assert.deepEqual(config([...CIDR, ...few, '--bpf-events-trace-enabled', 'false']).events, {
      ...{ ...defaults, traces: false, flags: 0x88 },
      ...{ rate: 50, burst: 50 },
    });
    for (const [flag, value] of [
      ['bpf-events-default-burst-limit', '5'],
      ['monitor-aggregation-flags', 'syn,ack,nak'],
      ['monitor-aggregation', 'some'],
      ['bpf-events-drop-enabled', 'maybe'],
    ]) {
      assert.throws(
        () => config([...CIDR, `--${flag}`, value!]),
        (error: WeirError) => error.describe().includes(flag!),
      );
    }
  });

  test('masquerading: off, or with what is left alone; native routing has to be told where pods are', () => {
    const { except: nothing, ...off } = config(CIDR).masquerade;
    assert.deepEqual([off, nothing], [{ ipv4: false, ipv6: false, mapMax: 131_072 }, []]);
    const tunnel = [...CIDR, '--routing-mode', 'tunnel'];
    assert.equal(config([...tunnel, '--enable-ipv4-masquerade']).masquerade.ipv4, true);
    assert.throws(() => config([...CIDR, '--enable-ipv6-masquerade']), /--ipv6-native-routing-cidr has to say/);
    const native = [...CIDR, '--enable-ipv4-masquerade', '--ipv4-native-routing-cidr'];
    const { except } = config([
      ...native,
      '10.0.0.0/8',
      '--non-masquerade-cidrs',
      '192.0.2.0/24,2001:db8::/32',
    ]).masquerade;
    assert.deepEqual(except.map(formatCidr), ['10.0.0.0/8', '192.0.2.0/24', '2001:db8::/32']);
    assert.throws(() => config([...native, 'fd00::/8']), {
      code: 'CONFIG_INVALID',
      field: '--ipv4-native-routing-cidr',
    });
    assert.throws(() => config([...tunnel, '--non-masquerade-cidrs', 'x']), { field: '--non-masquerade-cidrs' });
  });

  test('connections are collected every half minute, unless somebody wants it otherwise', () => {
    assert.equal(config(CIDR).collectionMs, 30_000);
    assert.equal(config([...CIDR, '--conntrack-gc-interval', '2m']).collectionMs, 120_000);
  });

  test('what is kept of names, with durations as they are usually written', () => {
    const made = config([...CIDR, '--tofqdns-min-ttl', '60', '--tofqdns-idle-connection-grace-period', '5m']);
    assert.deepEqual(made.names, {
      minTtl: 60,
      addressesPerName: 1000,
      zombiesPerEndpoint: 10_000,
      idleGraceMs: 300_000,
      resolvers: [],
    });
    const resolvers = ['192.0.2.1', '[2001:db8::1]:5353'];
    assert.deepEqual(config([...CIDR, '--fromfqdns-resolvers', resolvers.join()]).names.resolvers, resolvers);
    assert.equal(config([...CIDR, '--tofqdns-idle-connection-grace-period', '250ms']).names.idleGraceMs, 250);
  });

  const bad: readonly [string, string[], NodeJS.ProcessEnv, string, RegExp][] = [
    ['an unknown flag', ['--podcidr', 'x'], {}, 'command line', /--podcidr/],
    ['no addresses for pods', [], {}, '--pod-cidr', /no addresses/],
    ['a bad prefix', ['--pod-cidr', '10.0.0.0/33'], {}, '--pod-cidr', /33/],
    [
      'a bad duration',
      [...CIDR, '--tofqdns-idle-connection-grace-period', '5 min'],
      {},
      '--tofqdns-idle-connection-grace-period',
      /5 min/,
    ],
    ['two prefixes of a family', ['--pod-cidr', '10.0.0.0/24,10.1.0.0/24'], {}, '--pod-cidr', /two prefixes/],
    ['a bad variable', CIDR, { WEIR_MTU: 'big' }, 'WEIR_MTU', /"big"/],
    ['a bad mode', [...CIDR, '--policy-enforcement', 'off'], {}, '--policy-enforcement', /default, always, never/],
    ['a bad flag', CIDR, { WEIR_POLICY_AUDIT_MODE: 'perhaps' }, 'WEIR_POLICY_AUDIT_MODE', /true or false/],
    ['an empty number', [...CIDR, '--warm-programs', ''], {}, '--warm-programs', /whole number from 0 to 1000/],
    ['a bad listener', [...CIDR, '--metrics-listen', '9962'], {}, '--metrics-listen', /HOST:PORT/],
  ];
  for (const [what, argv, environment, field, message] of bad) {
    test(`names the place of ${what}`, () => {
      assert.throws(
        () => config(argv, environment),
        (error) => {
          assert.ok(error instanceof WeirError);
          assert.equal(error.code, 'CONFIG_INVALID');
          assert.equal(error.field, field);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  for (const [what, text, message] of [
    ['broken YAML', 'mtu: [', /./],
    ['a list', '- mtu', /mapping/],
    ['an unknown key', 'mtuu: 1', /mtuu: there is no such setting/],
    ['a map', 'mtu: {a: 1}', /mtu: must be/],
    ['what belongs on the command line', 'uninstall: true', /no such setting/],
  ] as const) {
    test(`a file with ${what} is refused by name`, () => {
      const file = join(dir, 'bad.yaml');
      writeFileSync(file, text);
      assert.throws(() => config([...CIDR, '--config', file]), { code: 'CONFIG_INVALID', object: file, message });
    });
  }

  test('help names every flag, and needs nothing else', () => {
    assert.deepEqual(readInvocation(['--help', '--mtu', 'x'], {}), { kind: 'help' });
    for (const { name } of OPTIONS) assert.match(helpText(), new RegExp(`--${name}\\b`));
  });

  test('uninstall needs no addresses', () => {
    assert.equal(readInvocation(['--uninstall'], {}).kind, 'uninstall');
  });
});
