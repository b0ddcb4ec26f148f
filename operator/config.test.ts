import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readInvocation } from './config.ts';
import { helpText, OPTIONS } from './options.ts';

const BAD: readonly [what: string, argv: string[], environment: NodeJS.ProcessEnv, field: string, message: RegExp][] = [
  ['an unknown flag', ['--nonsense'], {}, 'command line', /nonsense/],
  [
    'a duration without a unit',
    ['--identity-gc-interval', '15'],
    {},
    '--identity-gc-interval',
    /"15" is not a duration/,
  ],
  ['a mode that is none', ['--ipam', 'eni'], {}, '--ipam', /cluster-pool, kubernetes/],
  ['a pool without prefixes', ['--ipam', 'cluster-pool'], {}, '--ipam', /needs/],
  [
    'a prefix of the other family',
    ['--ipam', 'cluster-pool', '--cluster-pool-ipv4-cidr', 'fd00::/8'],
    {},
    '--cluster-pool-ipv4-cidr',
    /not an IPv4 prefix/,
  ],
  [
    'nodes larger than the pool',
    ['--ipam', 'cluster-pool', '--cluster-pool-ipv4-cidr', '10.0.0.0/16', '--cluster-pool-ipv4-mask-size', '8'],
    {},
    '--cluster-pool-ipv4-mask-size',
    /16 to 32/,
  ],
  [
    'a leader that outlives its lease',
    ['--leader-election-renew-deadline', '20s'],
    {},
    '--leader-election-renew-deadline',
    /shorter/,
  ],
  ['a store that is none', ['--kvstore', 'consul'], {}, '--kvstore', /etcd/],
  ['a store without a server', ['--kvstore', 'etcd'], {}, '--kvstore-opt', /etcd\.address/],
  ['identities in no store', ['--identity-allocation', 'kvstore'], {}, '--identity-allocation', /--kvstore/],
  ['a bad variable', [], { WEIR_OPERATOR_CES_RATE_LIMIT: 'many' }, 'WEIR_OPERATOR_CES_RATE_LIMIT', /whole number/],
];

describe('configuration of the operator', () => {
  for (const [what, argv, environment, field, message] of BAD) {
    test(`names the place of ${what}`, () => {
      assert.throws(() => readInvocation(argv, environment), { code: 'CONFIG_INVALID', field, message });
    });
  }

  test('flags go before the environment', () => {
    const invocation = readInvocation(['--namespace', 'a'], {
      WEIR_OPERATOR_NAMESPACE: 'b',
      WEIR_OPERATOR_CLUSTER_NAME: 'c',
    });
    assert.ok(invocation.kind === 'run');
    assert.deepEqual([invocation.config.namespace, invocation.config.clusterName], ['a', 'c']);
  });

  test('help names every flag', () => {
    assert.equal(readInvocation(['--help', '--ipam', 'x'], {}).kind, 'help');
    for (const { name } of OPTIONS) assert.ok(helpText().includes(`--${name} `));
  });
});
