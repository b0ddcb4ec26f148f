import { isMap, isScalar, isSeq, type LineCounter, type Node, type Pair } from 'yaml';
import type { SourcePosition } from '../model/resource.ts';

/**
 * Position of the field at a dotted path such as `spec.ingress[0].toPorts[1].port`, seen from `root`. A key that itself
 * holds dots may be written plainly (`metadata.labels.a.b/c`) or as `["a.b/c"]`. When the field is absent, as with a
 * required field that was forgotten, the position is that of its closest ancestor.
 */
export function positionInYaml(file: string, lines: LineCounter, root: Node, path: string): SourcePosition {
  let node: unknown = root;
  let offset = startOf(root);
  let rest = path;
  while (rest !== '') {
    const step = isMap(node) ? mapStep(node.items, rest) : isSeq(node) ? seqStep(node.items, rest) : undefined;
    if (step === undefined) break;
    node = step.node;
    offset = step.offset ?? offset;
    rest = step.rest;
  }
  const { line, col } = lines.linePos(offset);
  return { file, line, column: col };
}

interface Step {
  readonly node: unknown;
  readonly offset: number | undefined;
  readonly rest: string;
}

/** The longest key that the path continues with wins, so that `a.b` is found before `a`. */
function mapStep(items: readonly Pair[], rest: string): Step | undefined {
  let best: { readonly pair: Pair; readonly used: number } | undefined;
  for (const pair of items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : undefined;
    if (key === undefined) continue;
    const used = keyLength(key, rest);
    if (used !== undefined && (best === undefined || used > best.used)) best = { pair, used };
  }
  if (best === undefined) return undefined;
  return { node: best.pair.value, offset: startOf(best.pair.key), rest: afterDot(rest.slice(best.used)) };
}

/** How much of `rest` the key takes, or undefined when `rest` does not begin with it. */
function keyLength(key: string, rest: string): number | undefined {
  const quoted = `[${JSON.stringify(key)}]`;
  if (rest.startsWith(quoted)) return quoted.length;
  if (!rest.startsWith(key)) return undefined;
  return ['', '.', '['].includes(rest.charAt(key.length)) ? key.length : undefined;
}

function seqStep(items: readonly unknown[], rest: string): Step | undefined {
  const index = /^\[(\d+)\]/.exec(rest);
  const item = index === null ? undefined : items[Number(index[1])];
  if (index === null || item === undefined) return undefined;
  return { node: item, offset: startOf(item), rest: afterDot(rest.slice(index[0].length)) };
}

const afterDot = (rest: string): string => (rest.startsWith('.') ? rest.slice(1) : rest);

function startOf(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0;
}
