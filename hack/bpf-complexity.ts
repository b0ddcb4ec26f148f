/**
 * Lists how large the kernel programs are and how much work they give the verifier, at the defaults and at the most
 * expensive combination of their switches. The listing is committed as bpf/complexity.md, so that a jump shows in review.
 *
 *   node hack/bpf-complexity.ts [--write]
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { programInfo } from '../agent/kernel/bpf-info.ts';
import {
  bpfHostConfigVariables,
  bpfLxcConfigVariables,
  bpfOverlayConfigVariables,
  bpfSockConfigVariables,
  type ConfigVariable,
} from '../bpf/gen/config.ts';
import { OBJECTS, type ObjectName } from '../bpf/gen/objects.ts';
import { TestNode } from '../test/datapath/node.ts';

const VARIABLES = {
  bpf_lxc: bpfLxcConfigVariables,
  bpf_host: bpfHostConfigVariables,
  bpf_overlay: bpfOverlayConfigVariables,
  bpf_sock: bpfSockConfigVariables,
} as const;

interface Size {
  readonly instructions: number;
  readonly verified: number;
}

/** Sizes by program at one setting of the switches; undefined leaves the defaults. */
function sizes(node: TestNode, name: ObjectName, switches: ReadonlyMap<number, boolean>): Map<string, Size> {
  using object = node.load(name, (view) => {
    // Addresses that an endpoint lacks take the code for their family away: measure one that has both.
    for (const { type, offset } of Object.values<ConfigVariable>(VARIABLES[name])) {
      if (type === 'Uint8Array') view.setUint8(offset, 10);
    }
    for (const [offset, on] of switches) view.setUint8(offset, on ? 1 : 0);
  });
  return new Map(
    OBJECTS[name].programs.map((program) => {
      const { instructions, verifiedInstructions } = programInfo(object.program(program).fd);
      return [program, { instructions, verified: verifiedInstructions }];
    }),
  );
}

/** Every combination of the boolean variables, as offset → value. */
function* combinations(name: ObjectName): Generator<ReadonlyMap<number, boolean>> {
  const variables: readonly ConfigVariable[] = Object.values(VARIABLES[name]);
  const offsets = variables.filter(({ type }) => type === 'boolean').map(({ offset }) => offset);
  for (let bits = 0; bits < 1 << offsets.length; bits++) {
    yield new Map(offsets.map((offset, i) => [offset, (bits & (1 << i)) !== 0]));
  }
}

using node = await TestNode.start();
const rows: string[] = [];
for (const name of Object.keys(OBJECTS) as ObjectName[]) {
  const most = new Map<string, Size>();
  for (const switches of combinations(name)) {
    for (const [program, size] of sizes(node, name, switches)) {
      const known = most.get(program) ?? { instructions: 0, verified: 0 };
      most.set(program, {
        instructions: Math.max(known.instructions, size.instructions),
        verified: Math.max(known.verified, size.verified),
      });
    }
  }
  for (const [program, size] of sizes(node, name, new Map())) {
    const { instructions, verified } = most.get(program)!;
    rows.push(`| ${name} | ${program} | ${size.instructions} | ${size.verified} | ${instructions} | ${verified} |`);
  }
}
const text = `# Complexity of the programs

Written by \`node hack/bpf-complexity.ts --write\`. Instructions after the kernel's rewriting, subprograms included, and
instructions that the verifier walked (its limit is 1,000,000), at the defaults and at the most expensive switches. The
verifier's figures depend on the kernel; compare only what one machine wrote.

| object | program | instructions | verified | most instructions | most verified |
| --- | --- | ---: | ---: | ---: | ---: |
${rows.join('\n')}
`;
if (process.argv.includes('--write')) await writeFile(path.resolve(import.meta.dirname, '../bpf/complexity.md'), text);
console.log(text);
