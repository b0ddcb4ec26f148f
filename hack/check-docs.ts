/**
 * Checks the documentation: links lead somewhere, examples of manifests and policies are valid, the README's layer table
 * is that of `layers.ts`, and `docs/cli.md` is what the commands say of themselves.
 *
 *   node hack/check-docs.ts           names each fault; exits 1 when there is any
 *   node hack/check-docs.ts --write   writes the parts that are generated
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { decodeCidrGroup } from '../agent/k8s/cidr-group.ts';
import { decodeEndpointSlice } from '../agent/k8s/endpoint-slice.ts';
import { decodeNamespace } from '../agent/k8s/namespace.ts';
import { decodeNode } from '../agent/k8s/node.ts';
import { parseManifest } from '../agent/k8s/parse-manifest.ts';
import { decodePod } from '../agent/k8s/pod.ts';
import { decodeService } from '../agent/k8s/service.ts';
import { WeirError } from '../agent/model/errors.ts';
import type { Resource } from '../agent/model/resource.ts';
import { validateManifests } from '../cli/policy/validate.ts';
import { CLI_REFERENCE, cliReference } from './cli-reference.ts';
import { withLayerTable } from './layer-table.ts';
import { anchors, codeBlocks, links } from './markdown.ts';
import { projectFiles } from './project-files.ts';

/** `file:line: message` */
export type DocFault = string;

const DECODERS: Readonly<Record<string, (resource: Resource) => unknown>> = {
  Namespace: decodeNamespace,
  Node: decodeNode,
  Pod: decodePod,
  Service: decodeService,
  EndpointSlice: decodeEndpointSlice,
  CiliumCIDRGroup: decodeCidrGroup,
};

/** Faults of the manifests in `text`, whose first line is line `line` of `file`. */
export function manifestFaults(file: string, line: number, text: string): DocFault[] {
  const place = (inText: number): string => `${file}:${inText + line - 1}`;
  const policies = validateManifests([{ file, text }]).findings.map(
    (finding) =>
      `${place(finding.line)}: ${[finding.object, finding.field, finding.message].filter(Boolean).join(': ')}`,
  );
  const others = parseManifest(file, text).found.flatMap((resource) => {
    try {
      DECODERS[resource.kind]?.(resource);
      return [];
    } catch (thrown) {
      if (!(thrown instanceof WeirError)) throw thrown;
      const at = resource.positionOf?.(thrown.field ?? '')?.line ?? 1;
      return [`${place(at)}: ${thrown.object ?? ''}: ${thrown.field ?? ''}: ${thrown.message}`];
    }
  });
  return [...policies, ...others];
}

/** Faults of the YAML examples in a page. A block marked `yaml invalid` shows a mistake and must have one. */
export function exampleFaults(file: string, markdown: string): DocFault[] {
  return codeBlocks(markdown).flatMap((block) => {
    if (!['yaml', 'yml'].includes(block.language) || !/^\s*"?(apiVersion|kind)"?:/m.test(block.text)) return [];
    const faults = manifestFaults(file, block.line, block.text);
    if (block.info !== 'invalid') return faults;
    return faults.length > 0
      ? []
      : [`${file}:${block.line}: the example is marked as invalid, but nothing is wrong with it`];
  });
}

/** Links of a page that lead to no file, or to no heading of it. Those to other sites are not followed. */
export function linkFaults(root: string, file: string, markdown: string): DocFault[] {
  return links(markdown).flatMap(({ line, target }) => {
    if (/^[a-z][a-z0-9+.-]*:/i.test(target)) return [];
    const [name, anchor] = target.split('#', 2) as [string, string?];
    const there = name === '' ? file : path.posix.join(path.posix.dirname(file), decodeURI(name));
    const full = path.join(root, there);
    if (!existsSync(full)) return [`${file}:${line}: ${target} leads to no file`];
    if (anchor === undefined || !there.endsWith('.md') || statSync(full).isDirectory()) return [];
    const known = anchors(name === '' ? markdown : readFileSync(full, 'utf8'));
    return known.has(anchor) ? [] : [`${file}:${line}: ${there} has no heading #${anchor}`];
  });
}

/** Pages of which parts are generated, as they should be. */
function generatedPages(root: string): Map<string, string> {
  const readme = withLayerTable(readFileSync(path.join(root, 'README.md'), 'utf8'));
  if (readme === undefined) throw new Error('README.md has no layers:begin and layers:end');
  return new Map([
    ['README.md', readme],
    [CLI_REFERENCE, cliReference()],
  ]);
}

export function checkDocs(root: string): DocFault[] {
  const stale = [...generatedPages(root)].flatMap(([file, text]) => {
    const full = path.join(root, file);
    if (existsSync(full) && readFileSync(full, 'utf8') === text) return [];
    return [`${file}:1: is out of date: run \`node hack/check-docs.ts --write\``];
  });
  const pages = projectFiles(root, ['.md']).flatMap((file) => {
    const text = readFileSync(path.join(root, file), 'utf8');
    return [...exampleFaults(file, text), ...linkFaults(root, file, text)];
  });
  const examples = projectFiles(root, ['.yaml', '.yml'])
    .filter((file) => file.startsWith('docs/') || file.startsWith('install/'))
    .flatMap((file) => manifestFaults(file, 1, readFileSync(path.join(root, file), 'utf8')));
  return [...stale, ...pages, ...examples];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = path.resolve(import.meta.dirname, '..');
  if (process.argv.includes('--write')) {
    for (const [file, text] of generatedPages(root)) writeFileSync(path.join(root, file), text);
  }
  const faults = checkDocs(root);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
