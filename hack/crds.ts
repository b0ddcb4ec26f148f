/** `node hack/crds.ts [--check]`: writes install/crds.yaml from agent/k8s/crds, or says whether it is out of date. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { stringify } from 'yaml';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../agent/k8s/crds/index.ts';

const FILE = 'install/crds.yaml';

const HEADER = `# Custom resources of Weir, generated from agent/k8s/crds by hack/crds.ts. The operator registers the same by itself.
`;

export function crdManifest(): string {
  const documents = CUSTOM_RESOURCE_DEFINITIONS.map((crd) =>
    stringify(crd, { aliasDuplicateObjects: false, lineWidth: 118 }),
  );
  return `${HEADER}---\n${documents.join('---\n')}`;
}

/** Undefined when the file is up to date. */
export function crdDrift(root: string): string | undefined {
  const file = path.join(root, FILE);
  if (existsSync(file) && readFileSync(file, 'utf8') === crdManifest()) return undefined;
  return `${FILE} is out of date: run node hack/crds.ts, and raise SCHEMA_VERSION in agent/k8s/crds/definition.ts`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = path.resolve(import.meta.dirname, '..');
  if (!process.argv.includes('--check')) writeFileSync(path.join(root, FILE), crdManifest());
  const drift = crdDrift(root);
  if (drift !== undefined) console.error(drift);
  process.exitCode = drift === undefined ? 0 : 1;
}
