/** What must not leave the node, taken out of what a support engineer gets. Pure. */

const LEFT_OUT = '[left out]';

/** Fields whose value is a secret by its name, and the variables of the environment and flags that are. */
const SECRET_NAME = /pass(word|wd)|token|secret$|authorization|bearer|credential|private.?key|client.?key|api.?key/i;
/** Who else can tell what a value was: kubectl keeps a copy of all that it applied. */
const COPIES = new Set(['kubectl.kubernetes.io/last-applied-configuration', 'managedFields']);
/** Keys and tokens wherever they stand: PEM blocks, bearer tokens, JSON web tokens, credentials inside URLs. */
const IN_TEXT: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?-----END [A-Z ]*PRIVATE KEY-----/g, LEFT_OUT],
  [/\b(bearer|basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${LEFT_OUT}`],
  [/\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, LEFT_OUT],
  [/(\w+:\/\/)[^\s/:@]+:[^\s/@]+@/g, `$1${LEFT_OUT}@`],
  [/\b([\w-]*(?:password|passwd|token|secret))=[^\s,;"']+/gi, `$1=${LEFT_OUT}`],
];

/** `text` without keys and tokens. */
export function redactText(text: string): string {
  return IN_TEXT.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text);
}

/** `data` without secrets: values of HTTP headers, fields named as secrets are, copies of whole objects. */
export function redact(data: unknown): unknown {
  if (typeof data === 'string') return redactJson(data) ?? redactText(data);
  if (Array.isArray(data)) return data.map(redact);
  if (typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(
    Object.entries(data)
      .filter(([name]) => !COPIES.has(name))
      .map(([name, value]: [string, unknown]) => [name, redactField(name, value)]),
  );
}

/** Policies stand in answers as texts of JSON, whose fields are no fields to whoever reads the text. */
function redactJson(text: string): string | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.stringify(redact(JSON.parse(text)), undefined, 1);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function redactField(name: string, value: unknown): unknown {
  if (name === 'headers' && Array.isArray(value)) return value.map(headerName);
  if (name === 'headerMatches' && Array.isArray(value)) return value.map(headerMatch);
  if (typeof value === 'string' && SECRET_NAME.test(name)) return LEFT_OUT;
  return redact(value);
}

/** A header of an HTTP rule is `Name: value`, or its name alone. */
function headerName(header: unknown): unknown {
  if (typeof header !== 'string') return redact(header);
  const end = header.search(/[:\s]/);
  return end < 0 ? header : `${header.slice(0, end)}: ${LEFT_OUT}`;
}

function headerMatch(match: unknown): unknown {
  if (typeof match !== 'object' || match === null || !('value' in match)) return redact(match);
  return { ...(redact(match) as object), value: LEFT_OUT };
}
