/** The table of layers as the README shows it. */
import { ANYTHING, LAYERS, type Layer } from './layers.ts';

const BEGIN = '<!-- layers:begin -->';
const END = '<!-- layers:end -->';

/** Markdown of the table. Rooms that may import the same stand in one row. */
export function renderLayers(layers: readonly Layer[] = LAYERS): string {
  const rooms = Map.groupBy(layers, ({ may }) => mayText(may));
  const rows = [...rooms].map(([may, group]) => `| ${group.map(({ room }) => `\`${room}\``).join(', ')} | ${may} |\n`);
  return `| room | may import |\n|---|---|\n${rows.join('')}`;
}

function mayText(may: readonly string[]): string {
  if (may.length === 0) return 'nothing of the project';
  return may.includes(ANYTHING) ? 'anything; nothing imports it' : may.map((room) => `\`${room}\``).join(', ');
}

/** `text` with the table between its markers, or undefined when it has no markers. */
export function withLayerTable(text: string, layers: readonly Layer[] = LAYERS): string | undefined {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) return undefined;
  return `${text.slice(0, begin + BEGIN.length)}\n\n${renderLayers(layers)}\n${text.slice(end)}`;
}
