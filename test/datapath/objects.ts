/** The objects that packet tests load: those of dist/bpf or, for the coverage figure, instrumented ones. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { OBJECTS, type ObjectName } from '../../bpf/gen/objects.ts';

/** The map of an instrumented object in which its programs set a byte for each block that ran. */
export const COVERAGE_MAP = '.data.coverage';

/** Where `hack/coverage.ts` has put instrumented objects, and where it reads their coverage maps when the tests are through. */
export const COVERAGE_ENVIRONMENT = { objects: 'WEIR_COVERAGE_OBJECTS', pins: 'WEIR_COVERAGE_PINS' } as const;

const DIST = path.resolve(import.meta.dirname, '../../dist/bpf');

/** An object's bytes, and what is to be pinned where beside the node's maps. */
export function testObject(name: ObjectName): {
  readonly elf: Buffer;
  readonly pins: Readonly<Record<string, string>>;
} {
  const { file } = OBJECTS[name];
  const folder = process.env[COVERAGE_ENVIRONMENT.objects];
  const pins = process.env[COVERAGE_ENVIRONMENT.pins];
  if (folder === undefined || pins === undefined) return { elf: readFileSync(path.join(DIST, file)), pins: {} };
  return { elf: readFileSync(path.join(folder, file)), pins: { [COVERAGE_MAP]: path.join(pins, name) } };
}
