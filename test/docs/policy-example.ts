/** An example of docs/policies: manifests, and in the comment at their top what should come of them. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseManifest } from '../../agent/k8s/parse-manifest.ts';
import type { Resource } from '../../agent/model/resource.ts';

const FOLDER = path.join(import.meta.dirname, '../../docs/policies');

export interface ExpectedFlow {
  readonly source: string;
  readonly destination: string;
  /** `80/TCP`, `icmp/8` */
  readonly port: string;
  readonly allowed: boolean;
  /** Allowed, but an audited policy would deny it. */
  readonly audited: boolean;
}

export interface PolicyExample {
  readonly file: string;
  readonly title: string;
  readonly resources: readonly Resource[];
  readonly flows: readonly ExpectedFlow[];
}

const FLOW = /^#\s+(\S+)\s+->\s+(\S+)\s+(\S+)\s+(allowed|denied|audited)$/;

/** The cluster that every example speaks about. */
export function exampleCluster(): readonly Resource[] {
  return load('cluster.yaml').resources;
}

export function policyExamples(): readonly PolicyExample[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.yaml') && file !== 'cluster.yaml');
  return files.sort().map(load);
}

function load(file: string): PolicyExample {
  const text = readFileSync(path.join(FOLDER, file), 'utf8');
  const { resources, issues } = parseManifest(file, text);
  if (issues.length > 0) throw new Error(`${file}: ${issues[0]!.message}`);
  const comment = text.split('\n').filter((line) => line.startsWith('#'));
  const flows = comment.flatMap((line) => {
    const found = FLOW.exec(line);
    if (found === null && line.includes('->')) throw new Error(`${file}: no flow: ${line}`);
    if (found === null) return [];
    const [, source, destination, port, verdict] = found;
    const decided = { allowed: verdict !== 'denied', audited: verdict === 'audited' };
    return [{ source: source!, destination: destination!, port: port!, ...decided }];
  });
  return { file, title: comment[0]?.replace(/^#\s*/, '') ?? '', resources, flows };
}
