/** kubectl's template language around JSONPath: text, `{.path}`, `{"literal"}`, `{range .path}…{end}`. Pure. */
import { UsageError } from '../fault.ts';

export type TemplateNode =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'range'; readonly path: string; readonly body: readonly TemplateNode[] };

/**
 * Parses a template. A text without any brace is taken for a path, so that `.items[0].id` works as well.
 *
 * @throws UsageError
 */
export function parseTemplate(template: string): readonly TemplateNode[] {
  if (!template.includes('{')) return [{ kind: 'path', path: jsonPath(template) }];
  return new Parser(template).parse();
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): TemplateNode[] {
    const nodes = this.#nodes(false);
    if (this.#at < this.#text.length) fault('{end} without {range}');
    return nodes;
  }

  #nodes(inRange: boolean): TemplateNode[] {
    const nodes: TemplateNode[] = [];
    while (this.#at < this.#text.length) {
      const open = this.#text.indexOf('{', this.#at);
      if (open !== this.#at)
        nodes.push({ kind: 'text', text: this.#text.slice(this.#at, open < 0 ? undefined : open) });
      if (open < 0) {
        this.#at = this.#text.length;
        break;
      }
      const before = open;
      const expression = this.#expression(open);
      if (expression === 'end') {
        if (!inRange) this.#at = before;
        return nodes;
      }
      nodes.push(this.#node(expression));
    }
    if (inRange) fault('{range} without {end}');
    return nodes;
  }

  #node(expression: string): TemplateNode {
    const range = /^range\s+(.*)$/s.exec(expression);
    if (range !== null) return { kind: 'range', path: jsonPath(range[1]!), body: this.#nodes(true) };
    if (expression.startsWith('"') || expression.startsWith("'")) return { kind: 'text', text: literal(expression) };
    return { kind: 'path', path: jsonPath(expression) };
  }

  /** Reads to the closing brace, past quoted ones, and moves behind it. */
  #expression(open: number): string {
    let quote = '';
    for (let i = open + 1; i < this.#text.length; i++) {
      const c = this.#text.charAt(i);
      if (c === '\\') i++;
      else if (quote !== '') quote = c === quote ? '' : quote;
      else if (c === '"' || c === "'") quote = c;
      else if (c === '}') {
        this.#at = i + 1;
        return this.#text.slice(open + 1, i).trim();
      }
    }
    return fault(`unclosed brace at character ${open + 1}`);
  }
}

function literal(expression: string): string {
  const quote = expression.charAt(0);
  if (expression.length < 2 || !expression.endsWith(quote)) fault(`unclosed quote in {${expression}}`);
  const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };
  return expression.slice(1, -1).replaceAll(/\\(.)/gs, (_all, c: string) => escapes[c] ?? c);
}

/** kubectl's dialect to JSONPath: a leading `.` or `@`, dots escaped in keys, and `[-1]` for the last item. */
function jsonPath(expression: string): string {
  const trimmed = expression.trim();
  if (trimmed === '' || trimmed === '.' || trimmed === '@' || trimmed === '$') return '$';
  const rooted = trimmed.startsWith('$')
    ? trimmed
    : trimmed.startsWith('@')
      ? `$${trimmed.slice(1)}`
      : trimmed.startsWith('.') || trimmed.startsWith('[')
        ? `$${trimmed}`
        : `$.${trimmed}`;
  return rooted
    .replaceAll(/\.((?:[^.[\]\\]|\\.)*\\\.(?:[^.[\]\\]|\\.)*)/g, (_all, key: string) => {
      return `['${key.replaceAll('\\.', '.')}']`;
    })
    .replaceAll(/\[(-\d+)\]/g, '[$1:]');
}

function fault(message: string): never {
  throw new UsageError(
    `jsonpath template: ${message}`,
    "write it as kubectl does: '{.items[0].id}' or '{range .items[*]}{.id}{\"\\n\"}{end}'",
  );
}

/** Finds all values at a path. */
export type Query = (path: string, root: unknown) => readonly unknown[];

/** Text of a template over `data`. Several values of one path are separated by spaces; absent ones are empty. */
export function renderTemplate(nodes: readonly TemplateNode[], data: unknown, query: Query): string {
  return nodes
    .map((node) => {
      if (node.kind === 'text') return node.text;
      const values = query(node.path, rootFor(node.path, data));
      if (node.kind === 'path') return values.map(valueText).join(' ');
      return values.map((value) => renderTemplate(node.body, value, query)).join('');
    })
    .join('');
}

/** kubectl's lists have `items`; the agent's are bare. Paths of both forms work on them. */
function rootFor(path: string, data: unknown): unknown {
  return Array.isArray(data) && /^\$\.items\b/.test(path) ? { items: data } : data;
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
