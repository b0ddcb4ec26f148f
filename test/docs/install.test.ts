/** The workloads of install/kubernetes start the programs with settings that these take, as the ConfigMap has them. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { readInvocation as readAgent, type Config } from '../../agent/config/config.ts';
import { environmentName as agentVariable, OPTIONS as AGENT_OPTIONS } from '../../agent/config/options.ts';
import { readInvocation as readOperator, type OperatorConfig } from '../../operator/config.ts';
import { environmentName as operatorVariable, OPTIONS as OPERATOR_OPTIONS } from '../../operator/options.ts';
import { listAt, textAt, valueAt, type Json } from '../fakes/kube-apiserver/object.ts';
import { manifests } from '../harness/grants.ts';

const INSTALL = path.resolve(import.meta.dirname, '../../install');
const DATA = valueAt(manifests('config.yaml')[0], ['data']) as Readonly<Record<string, string>>;

/** A value for each key that the ConfigMap need not have. */
const OPTIONAL: Readonly<Record<string, string>> = {
  'enable-cilium-endpoint-slice': 'true',
  kvstore: 'etcd',
  'kvstore-opt': 'etcd.address=https://192.0.2.7:2379',
  'k8s-api-server-urls': 'https://192.0.2.8:6443',
};

const containerOf = (file: string): Json => {
  const [workload] = manifests(file);
  return listAt(workload, 'spec', 'template', 'spec', 'containers')[0] as Json;
};

/** The container's environment under a ConfigMap of this content, as a kubelet makes it. */
function environmentOf(container: Json, data: Readonly<Record<string, string>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const variable of listAt(container, 'env')) {
    const name = textAt(variable, 'name');
    const reference = valueAt(variable, ['valueFrom', 'configMapKeyRef']);
    const plain = textAt(variable, 'value') || textAt(variable, 'valueFrom', 'fieldRef', 'fieldPath');
    const value = reference === undefined ? plain : data[textAt(reference, 'key')];
    if (value !== undefined) environment[name] = value;
    else
      assert.equal(valueAt(reference, ['optional']), true, `${name}: the ConfigMap has no ${textAt(reference, 'key')}`);
  }
  return environment;
}

describe('the workloads of install/kubernetes', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-install-'));
  const agentYaml = path.join(directory, 'agent.yaml');
  after(() => rmSync(directory, { recursive: true }));
  const daemonSet = containerOf('agent.yaml');
  const deployment = containerOf('operator.yaml');

  /** What the agent makes of its command line, where the ConfigMap is mounted. */
  const agentOf = (data: Readonly<Record<string, string>>): Config => {
    writeFileSync(agentYaml, DATA['agent.yaml'] ?? '');
    const [program, ...words] = listAt(daemonSet, 'command').map(String);
    assert.equal(program, '/opt/weir/weir-agent');
    const argv = words.map((word) => word.replace('/etc/weir/agent.yaml', agentYaml));
    const invocation = readAgent(argv, environmentOf(daemonSet, data));
    assert.ok(invocation.kind === 'run');
    return invocation.config;
  };
  const operatorOf = (data: Readonly<Record<string, string>>): OperatorConfig => {
    const [program, ...words] = listAt(deployment, 'command').map(String);
    assert.equal(program, '/opt/weir/weir-operator');
    const invocation = readOperator(words, environmentOf(deployment, data));
    assert.ok(invocation.kind === 'run');
    return invocation.config;
  };

  test('start with the settings that they come with', () => {
    const config = agentOf(DATA);
    assert.equal(config.ipam, 'cluster-pool');
    assert.equal(config.routing.mode, 'tunnel');
    assert.deepEqual([config.masquerade.ipv4, config.masquerade.ipv6], [true, true]);
    assert.deepEqual(config.metricsListen, { host: '::', port: 9962 });
    assert.equal(config.identityAllocation, 'crd');
    assert.equal(config.kubernetes?.endpointSlices, false);
    assert.equal(operatorOf(DATA).clusterPool?.length, 2);
  });

  test('take every optional key, and mean the same by it', () => {
    const data = { ...DATA, ...OPTIONAL };
    const [config, duties] = [agentOf(data), operatorOf(data)];
    assert.equal(config.kubernetes?.endpointSlices, true);
    assert.equal(duties.slices?.size, 100);
    assert.deepEqual(config.kubernetes.servers, [OPTIONAL['k8s-api-server-urls']]);
    assert.equal(config.identityAllocation, 'kvstore');
    assert.deepEqual(config.kvstore?.addresses, duties.kvstore?.addresses);
  });

  test('pass on every key, each to the flag of its name, and know no variable that is no flag', () => {
    const passed = new Set(['agent.yaml']);
    for (const [container, options, environmentName] of [
      [daemonSet, AGENT_OPTIONS, agentVariable],
      [deployment, OPERATOR_OPTIONS, operatorVariable],
    ] as const) {
      const flags = new Map(options.map(({ name }): [string, string] => [environmentName(name), name]));
      for (const variable of listAt(container, 'env')) {
        const flag = flags.get(textAt(variable, 'name'));
        assert.ok(flag !== undefined, `${textAt(variable, 'name')} is no flag`);
        const key = textAt(variable, 'valueFrom', 'configMapKeyRef', 'key');
        if (key === '') continue;
        assert.equal(flag, key);
        passed.add(key);
      }
    }
    assert.deepEqual(Object.keys({ ...DATA, ...OPTIONAL }).sort(), [...passed].sort());
    const comment = readFileSync(path.join(INSTALL, 'kubernetes/config.yaml'), 'utf8').split('apiVersion')[0]!;
    for (const key of Object.keys(OPTIONAL)) assert.ok(comment.includes(key), `config.yaml says that there is ${key}`);
  });

  test('mount what they read, and run what the image has', () => {
    const [workload] = manifests('agent.yaml');
    const mounts = listAt(daemonSet, 'volumeMounts').map((mount) => textAt(mount, 'name'));
    const volumes = listAt(workload, 'spec', 'template', 'spec', 'volumes').map((volume) => textAt(volume, 'name'));
    for (const mount of mounts) assert.ok(volumes.includes(mount), mount);
    const dockerfile = readFileSync(path.join(INSTALL, 'Dockerfile'), 'utf8');
    assert.match(dockerfile, /^COPY --from=build \/weir\/dist \/opt\/weir$/m);
    // Images by their names, so that whoever builds says where from.
    for (const [, image = ''] of dockerfile.matchAll(/^FROM (\S+)/gm)) assert.match(image, /^[a-z]+:[\w.-]+$/);
    const packages = readFileSync(path.join(INSTALL, '../hack/debian-packages'), 'utf8').split(/\s+/);
    const build = /--no-install-recommends (.+?) \\/.exec(dockerfile)?.[1]?.split(' ') ?? [];
    assert.ok(build.includes('clang') && build.every((name) => packages.includes(name)), build.join());
    const { version } = JSON.parse(readFileSync(path.join(INSTALL, '../package.json'), 'utf8')) as { version: string };
    for (const file of ['agent.yaml', 'operator.yaml'])
      assert.equal(textAt(containerOf(file), 'image'), `weir:${version}`);
  });
});
