/** Numbers as Kubernetes writes them: `10M`, `1.5Gi`, `2e6`. */

/** Powers of ten. */
const DECIMAL: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
/** Powers of 1024. */
const BINARY = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'] as const;

const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE])|([KMGTPE]i)|[eE]([+-]?\d{1,3}))?$/;

/** The number that a quantity stands for; undefined when it is none. */
export function parseQuantity(text: string): number | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, digits = '', decimal, binary, exponent = '0'] = match;
  if (binary !== undefined) return Number(digits) * 1024 ** (BINARY.findIndex((suffix) => suffix === binary) + 1);
  // Read at once, not multiplied: 1.1M is 1,100,000 and no fraction more.
  return Number(`${digits}e${decimal === undefined ? exponent : DECIMAL[decimal]!}`);
}

/** A whole number as a quantity, with the largest decimal suffix that loses nothing. */
export function formatQuantity(value: number): string {
  const suffixes = Object.entries(DECIMAL).filter(([, power]) => power > 0);
  const fit = suffixes.findLast(([, power]) => value >= 10 ** power && value % 10 ** power === 0);
  return fit === undefined ? String(value) : `${value / 10 ** fit[1]}${fit[0]}`;
}
