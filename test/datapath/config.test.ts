/** The verifier takes every program at every combination of its boolean config variables. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  bpfHostConfigVariables,
  bpfLxcConfigVariables,
  writeBpfHostConfig,
  writeBpfLxcConfig,
  type ConfigVariable,
} from '../../bpf/gen/config.ts';
import { OBJECTS } from '../../bpf/gen/objects.ts';
import { TestNode } from './node.ts';

let node: TestNode;
before(async () => {
  node = await TestNode.start();
});
after(() => node[Symbol.dispose]());

const VARIABLES = { bpf_lxc: bpfLxcConfigVariables, bpf_host: bpfHostConfigVariables } as const;
const WRITE = { bpf_lxc: writeBpfLxcConfig, bpf_host: writeBpfHostConfig } as const;

/** Off in every other test that does not ask for them: here they are on. */
const NUMBERS = { masqueradeIpv4: 1, masqueradeIpv6: 1 } as const;

const booleans = (variables: Readonly<Record<string, ConfigVariable>>): string[] =>
  Object.entries(variables).flatMap(([name, { type }]) => (type === 'boolean' ? [name] : []));

for (const name of ['bpf_lxc', 'bpf_host'] as const) {
  const switches = booleans(VARIABLES[name]);
  describe(`${name}: ${switches.join(', ')}`, () => {
    for (let bits = 0; bits < 1 << switches.length; bits++) {
      const values = Object.fromEntries(switches.map((variable, i) => [variable, (bits & (1 << i)) !== 0]));
      test(switches.map((_, i) => (bits & (1 << i) ? 1 : 0)).join(''), () => {
        using object = node.load(name, (view) => WRITE[name](view, { ...NUMBERS, ...values }));
        assert.deepEqual(object.programNames.sort(), [...OBJECTS[name].programs].sort());
      });
    }
  });
}
