/** As much of Markdown as the documentation's checks need. Pure. */

export interface CodeBlock {
  readonly language: string;
  /** What stands behind the language. */
  readonly info: string;
  /** 1-based line of the block's first line of text. */
  readonly line: number;
  readonly text: string;
}

export interface Link {
  /** 1-based. */
  readonly line: number;
  readonly target: string;
}

/** Fenced code blocks. Indentation of the fence, as in lists, is taken off the text. */
export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open:
    { indent: string; fence: string; language: string; info: string; line: number; lines: string[] } | undefined;
  for (const [i, line] of markdown.split('\n').entries()) {
    const fence = /^(\s*)(```+|~~~+)\s*(\S*)\s*(.*)$/.exec(line);
    if (open === undefined) {
      if (fence === null) continue;
      open = { indent: fence[1]!, fence: fence[2]!, language: fence[3]!, info: fence[4]!, line: i + 2, lines: [] };
    } else if (fence?.[2]?.startsWith(open.fence) === true && fence[3] === '') {
      const { language, info, line: first, lines } = open;
      blocks.push({ language, info, line: first, text: `${lines.join('\n')}\n` });
      open = undefined;
    } else open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line.trimStart());
  }
  return blocks;
}

/** Links and images outside of code. */
export function links(markdown: string): Link[] {
  let fenced = false;
  return markdown.split('\n').flatMap((line, i) => {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    if (fenced) return [];
    const prose = line.replaceAll(/`[^`]*`/g, (code) => ' '.repeat(code.length));
    return [...prose.matchAll(/\]\(([^()\s]+(?:\([^()\s]*\))?)[^)]*\)/g)].map((match) => ({
      line: i + 1,
      target: match[1]!,
    }));
  });
}

/** Anchors of the headings, as GitHub makes them. */
export function anchors(markdown: string): ReadonlySet<string> {
  const found = new Set<string>();
  let fenced = false;
  for (const line of markdown.split('\n')) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    const heading = fenced ? null : /^#{1,6}\s+(.*?)\s*#*$/.exec(line);
    if (heading === null) continue;
    const slug = heading[1]!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-');
    let unique = slug;
    for (let n = 1; found.has(unique); n++) unique = `${slug}-${n}`;
    found.add(unique);
  }
  return found;
}
