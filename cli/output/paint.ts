import { styleText } from 'node:util';
import { plain, type Paint, type Style } from './table.ts';

const FORMATS: Readonly<Record<Style, Parameters<typeof styleText>[0]>> = {
  good: 'green',
  bad: 'red',
  warn: 'yellow',
  dim: 'dim',
  bold: 'bold',
};

const colours: Paint = (style, text) => styleText(FORMATS[style], text, { validateStream: false });

/** Colours only on a terminal, and never with NO_COLOR (no-color.org) or a dumb terminal. */
export function paintFor(stream: { readonly isTTY?: boolean }, env: Readonly<NodeJS.ProcessEnv>): Paint {
  const refused = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return stream.isTTY === true && !refused ? colours : plain;
}
