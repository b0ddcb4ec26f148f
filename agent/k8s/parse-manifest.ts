/** Text of one manifest file → resources and issues. Pure: nothing is read here. */
import { isMap, isSeq, LineCounter, parseAllDocuments, type Document, type Node } from 'yaml';
import { RESOURCE_KINDS, type Resource, type ResourceKind } from '../model/resource.ts';
import { KINDS, parseApiVersion, preferredApiVersion } from './kinds.ts';
import type { ManifestIssue } from './manifest-issue.ts';
import { decodeMetadata, isRecord, wanted } from './object-meta.ts';
import { positionInYaml } from './yaml-position.ts';

export interface ParsedManifest {
  /** In the order of the file. Empty when any issue is an error: a file is taken in whole or not at all. */
  readonly resources: readonly Resource[];
  /** Every object that was understood, even when the file as a whole is refused: for those who report on the file. */
  readonly found: readonly Resource[];
  readonly issues: readonly ManifestIssue[];
}

/**
 * Parses YAML (any number of documents) or JSON, which is YAML too; `List` objects are unpacked. Unknown kinds are
 * warnings; anything else that is wrong is an error. `file` is the name that issues and positions carry.
 */
export function parseManifest(file: string, text: string): ParsedManifest {
  const lines = new LineCounter();
  const parser = new ManifestParser(file, lines);
  // Merge keys (`<<`) are YAML 1.1, but kubectl knows them, and so people write them.
  const documents = parseAllDocuments(text, { lineCounter: lines, merge: true, prettyErrors: false });
  for (const document of Array.isArray(documents) ? documents : []) parser.document(document);
  return parser.result();
}

class ManifestParser {
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #resources: Resource[] = [];
  readonly #issues: ManifestIssue[] = [];

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  result(): ParsedManifest {
    const failed = this.#issues.some((issue) => issue.severity === 'error');
    return { resources: failed ? [] : this.#resources, found: this.#resources, issues: this.#issues };
  }

  document(document: Document.Parsed): void {
    for (const error of document.errors) {
      const { line, col } = this.#lines.linePos(error.pos[0]);
      this.#issues.push({ severity: 'error', file: this.#file, line, column: col, message: error.message });
    }
    if (document.errors.length > 0 || document.contents === null) return;
    let value: unknown;
    try {
      value = document.toJS();
    } catch (thrown) {
      // Aliases that expand without end, or to nowhere.
      this.#issue('error', document.contents, '', {
        message: thrown instanceof Error ? thrown.message : String(thrown),
      });
      return;
    }
    // A document of comments only.
    if (value !== null) this.#object(document.contents, value);
  }

  #object(node: Node, value: unknown): void {
    if (!isRecord(value)) {
      this.#issue('error', node, '', { message: 'is not a Kubernetes object: expected a mapping' });
      return;
    }
    const { apiVersion, kind } = value;
    if (typeof apiVersion !== 'string' || apiVersion === '') {
      this.#issue('error', node, 'apiVersion', { field: 'apiVersion', message: wanted(apiVersion, 'a string') });
    } else if (typeof kind !== 'string' || kind === '') {
      this.#issue('error', node, 'kind', { field: 'kind', message: wanted(kind, 'a string') });
    } else if (Array.isArray(value['items']) && kind.endsWith('List')) this.#list(node, value['items']);
    else if (kind === 'List')
      this.#issue('error', node, 'items', { field: 'items', message: wanted(value['items'], 'a list') });
    else this.#known(node, value, apiVersion, kind);
  }

  #list(node: Node, items: readonly unknown[]): void {
    const sequence = isMap(node) ? node.get('items', true) : undefined;
    for (const [i, item] of items.entries()) {
      const itemNode = isSeq(sequence) ? (sequence.items[i] as Node | undefined) : undefined;
      this.#object(itemNode ?? node, item);
    }
  }

  #known(node: Node, value: Readonly<Record<string, unknown>>, apiVersion: string, kind: string): void {
    const { group, version } = parseApiVersion(apiVersion);
    // Other groups have kinds of the same name: a Knative Service is not a Service.
    if (!isResourceKind(kind) || KINDS[kind].group !== group) {
      this.#issue('warning', node, 'kind', {
        field: 'kind',
        message: `kind ${kind} of ${apiVersion} is not known to Weir and is ignored`,
      });
      return;
    }
    if (!KINDS[kind].versions.includes(version)) {
      this.#issue('error', node, 'apiVersion', {
        field: 'apiVersion',
        message: `${apiVersion} is not a version of ${kind} that Weir understands; write ${preferredApiVersion(kind)}`,
      });
      return;
    }
    const metadata = decodeMetadata(kind, value['metadata']);
    if (!metadata.ok) {
      const { field, object, message } = metadata;
      this.#issue('error', node, field, { object, field, message });
      return;
    }
    const [file, lines] = [this.#file, this.#lines];
    this.#resources.push({
      apiVersion,
      kind,
      ...metadata.value,
      object: value,
      positionOf: (path) => positionInYaml(file, lines, node, path),
    });
  }

  #issue(
    severity: ManifestIssue['severity'],
    node: Node,
    path: string,
    issue: Omit<ManifestIssue, 'severity' | 'file' | 'line' | 'column'>,
  ): void {
    const { line, column } = positionInYaml(this.#file, this.#lines, node, path);
    this.#issues.push({ severity, file: this.#file, line, column, ...issue });
  }
}

function isResourceKind(kind: string): kind is ResourceKind {
  return (RESOURCE_KINDS as readonly string[]).includes(kind);
}
