/**
 * Patterns of domain names (S29). Matching takes time proportional to the name times the pattern at worst and never
 * backtracks over labels: nobody's DNS question can make it slow.
 */

/** A name in the form that patterns match: lower case, with its final dot. */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith('.') ? lower : `${lower}.`;
}

export interface NamePattern {
  /** The pattern in canonical form: lower case, final dot; nothing but stars stays as it is. */
  readonly text: string;
  /** Whether the canonical name `name` matches. */
  matches(name: string): boolean;
}

const MAX_LENGTH = 255;

/** What keeps `pattern` from being a pattern, or undefined. */
export function namePatternFault(pattern: string): string | undefined {
  if (pattern.length > MAX_LENGTH) return `a pattern has at most ${MAX_LENGTH} characters`;
  if (!/^[-0-9a-zA-Z_.*]+$/.test(pattern)) return 'a pattern has only letters, digits, - _ . and *';
  return undefined;
}

/** The pattern that matches one name only. */
export function exactName(name: string): NamePattern {
  const text = canonicalName(name);
  return { text, matches: (candidate) => candidate === text };
}

/**
 * Compiles a pattern. Nothing but stars matches every name; a leading `**.` stands for one label or more; any other run
 * of stars matches `[-a-zA-Z0-9_]*` within its label.
 */
export function namePattern(pattern: string): NamePattern {
  if (/^\*+\.?$/.test(pattern)) return { text: pattern, matches: isName };
  const text = canonicalName(pattern);
  const subdomains = /^\*{2,}\./.exec(text);
  const labels = text
    .slice(subdomains?.[0].length ?? 0)
    .split('.')
    .map(splitLabel);
  if (subdomains === null) return { text, matches: (name) => matchesAll(labels, name.split('.')) };
  return {
    text,
    matches: (name) => {
      const parts = name.split('.');
      const extra = parts.length - labels.length;
      return extra > 0 && parts.slice(0, extra).every(isLabel) && matchesAll(labels, parts.slice(extra));
    },
  };
}

/** The literal pieces between the stars of a label; one piece when there is no star. */
function splitLabel(label: string): readonly string[] {
  return label.split(/\*+/);
}

function isLabel(label: string): boolean {
  return /^[-a-zA-Z0-9_]+$/.test(label);
}

/** Every name that DNS can ask for: the root, or labels that each have a letter. */
function isName(name: string): boolean {
  return name === '.' || (name.endsWith('.') && name.slice(0, -1).split('.').every(isLabel));
}

function matchesAll(labels: readonly (readonly string[])[], parts: readonly string[]): boolean {
  return labels.length === parts.length && labels.every((pieces, i) => matchesLabel(pieces, parts[i]!));
}

/** Pieces must follow one another in the label: first at its start, last at its end, the rest leftmost in between. */
function matchesLabel(pieces: readonly string[], label: string): boolean {
  const first = pieces[0]!;
  if (pieces.length === 1) return label === first;
  const last = pieces.at(-1)!;
  if (label.length < first.length + last.length || !label.startsWith(first) || !label.endsWith(last)) return false;
  if (!/^[-a-zA-Z0-9_]*$/.test(label)) return false;
  let from = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = label.indexOf(piece, from);
    if (found < 0) return false;
    from = found + piece.length;
  }
  return from <= label.length - last.length;
}
