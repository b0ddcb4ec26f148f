/** `-o json|yaml|jsonpath=…`: any model → text. */
import { UsageError } from '../fault.ts';
import { parseTemplate, renderTemplate, type TemplateNode } from './template.ts';

export type OutputFormat =
  | { readonly kind: 'json' }
  | { readonly kind: 'yaml' }
  | { readonly kind: 'jsonpath'; readonly template: readonly TemplateNode[] };

/** @throws UsageError */
export function parseOutputFormat(text: string): OutputFormat {
  if (text === 'json' || text === 'yaml') return { kind: text };
  const template = /^jsonpath=(.+)$/s.exec(text);
  if (template !== null) return { kind: 'jsonpath', template: parseTemplate(template[1]!) };
  throw new UsageError(`${JSON.stringify(text)} is not an output format`, 'use json, yaml or jsonpath=TEMPLATE');
}

/** Libraries are loaded only by the formats that need them: most runs of the CLI need none. */
export async function formatData(data: unknown, format: OutputFormat): Promise<string> {
  switch (format.kind) {
    case 'json':
      return `${JSON.stringify(data, undefined, 2)}\n`;
    case 'yaml': {
      const { stringify } = await import('./yaml.ts');
      return stringify(data, { lineWidth: 0 });
    }
    case 'jsonpath': {
      const { JSONPath } = await import('jsonpath-plus');
      const text = renderTemplate(format.template, data, (path, root) => {
        // `safe` evaluates filters in an interpreter of its own, never as JavaScript.
        return JSONPath({ path, json: root as object, wrap: true, eval: 'safe' }) as unknown[];
      });
      return text === '' || text.endsWith('\n') ? text : `${text}\n`;
    }
  }
}
