/**
 * Whether a text is a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax), the dialect of the proxies
 * that read the rules. One pass, no compilation: the expression is never run here.
 */

/** What is wrong with `expression`, or undefined. */
export function regularExpressionFault(expression: string): string | undefined {
  return new Scanner(expression).fault() ?? undefined;
}

const MAX_REPEAT = 1000;
const PERL_CLASSES = 'dDsSwW';
const ASSERTIONS = 'AbBz';
const CONTROLS = 'afnrtv';
const POSIX_CLASS = /^\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]/;
const REPEAT = /^\{(\d+)(?:(,)(\d*))?\}/;
const GROUP_NAME = /^\(\?P?<(\w+)>/;
const GROUP_FLAGS = /^\(\?([imsU]*(?:-[imsU]+)?)([:)])/;

/** What is wrong, or null. */
type Fault = string | null;

class Scanner {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  readonly #names = new Set<string>();
  /** Whether there is something that a repetition could repeat, and whether it is a repetition itself. */
  #last: 'nothing' | 'atom' | 'repetition' = 'nothing';

  constructor(text: string) {
    this.#text = text;
  }

  fault(): Fault {
    while (this.#at < this.#text.length) {
      const fault = this.#step(this.#text[this.#at]!);
      if (fault !== null) return fault;
    }
    return this.#depth > 0 ? 'a ( is never closed' : null;
  }

  #step(char: string): Fault {
    switch (char) {
      case '(':
        return this.#open();
      case ')':
        if (this.#depth-- === 0) return 'a ) closes nothing';
        return this.#atom(1);
      case '|':
        this.#at++;
        this.#last = 'nothing';
        return null;
      case '*':
      case '+':
      case '?':
        return this.#repeat(1);
      case '{':
        return this.#braces();
      case '[':
        return this.#class();
      case '\\':
        return this.#escape(false);
      default:
        return this.#atom(1);
    }
  }

  #atom(length: number): Fault {
    this.#at += length;
    this.#last = 'atom';
    return null;
  }

  #rest(): string {
    return this.#text.slice(this.#at);
  }

  #open(): Fault {
    const rest = this.#rest();
    this.#last = 'nothing';
    if (!rest.startsWith('(?')) {
      this.#depth++;
      this.#at++;
      return null;
    }
    const name = GROUP_NAME.exec(rest);
    if (name !== null) {
      if (this.#names.has(name[1]!)) return `the group name ${name[1]} stands twice`;
      this.#names.add(name[1]!);
      this.#depth++;
      this.#at += name[0].length;
      return null;
    }
    const flags = GROUP_FLAGS.exec(rest);
    if (flags === null) return `${rest.slice(0, 3)} is not supported`;
    if (flags[2] === ':') this.#depth++;
    else if (flags[1] === '') return '(?) is not supported';
    this.#at += flags[0].length;
    return null;
  }

  #braces(): Fault {
    const found = REPEAT.exec(this.#rest());
    // Braces that are no repetition stand for themselves.
    if (found === null) return this.#atom(1);
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === '' ? min : Number(found[3]);
    if (min > MAX_REPEAT || max > MAX_REPEAT || max < min) return `the repeat count ${found[0]} is out of bounds`;
    return this.#repeat(found[0].length);
  }

  #repeat(length: number): Fault {
    const operator = this.#text.slice(this.#at, this.#at + length);
    if (this.#last === 'nothing') return `${operator} repeats nothing`;
    if (this.#last === 'repetition') return `${operator} repeats a repetition`;
    this.#at += length;
    if (this.#text[this.#at] === '?') this.#at++;
    this.#last = 'repetition';
    return null;
  }

  /** A class in brackets; a ] right after the opening stands for itself. */
  #class(): Fault {
    this.#at++;
    if (this.#text[this.#at] === '^') this.#at++;
    for (let first = true; ; first = false) {
      const char = this.#text[this.#at];
      if (char === undefined) return 'a [ is never closed';
      if (char === ']' && !first) return this.#atom(1);
      const fault = this.#classItem();
      if (fault !== null) return fault;
    }
  }

  #classItem(): Fault {
    const rest = this.#rest();
    const posix = POSIX_CLASS.exec(rest);
    if (posix !== null) {
      this.#at += posix[0].length;
      return null;
    }
    if (/^\[:[^\]]*:\]/.test(rest)) return `${rest.slice(0, rest.indexOf(']') + 1)} is no class`;
    const low = this.#classChar();
    if (typeof low === 'string') return low;
    if (this.#text[this.#at] !== '-' || this.#text[this.#at + 1] === ']' || this.#at + 1 >= this.#text.length)
      return null;
    this.#at++;
    const high = this.#classChar();
    if (typeof high === 'string') return high;
    return low >= 0 && high >= low ? null : 'a range in [ ] runs backwards';
  }

  /** Code point of one member of a class, -1 for a class within the class, or what is wrong with it. */
  #classChar(): number | string {
    if (this.#text[this.#at] !== '\\') {
      const point = this.#text.codePointAt(this.#at)!;
      this.#at += point > 0xffff ? 2 : 1;
      return point;
    }
    const from = this.#at;
    const fault = this.#escape(true);
    return fault ?? escapedPoint(this.#text.slice(from, this.#at));
  }

  #escape(inClass: boolean): Fault {
    const rest = this.#rest();
    const char = rest[1];
    if (char === undefined) return 'a \\ stands at the end';
    if (char === 'Q' && !inClass) {
      const end = rest.indexOf('\\E');
      return this.#atom(end < 0 ? rest.length : end + 2);
    }
    if (ASSERTIONS.includes(char)) return inClass ? `\\${char} is not supported in [ ]` : this.#atom(2);
    if ((PERL_CLASSES + CONTROLS).includes(char) || !/[\w\u0080-\uffff]/.test(char)) return this.#atom(2);
    const longer = /^\\(?:0[0-7]{0,2}|[1-7][0-7]{1,2}|x[0-9a-fA-F]{2}|x\{[0-9a-fA-F]{1,6}\})/.exec(rest);
    if (longer !== null) return this.#atom(longer[0].length);
    const unicode = /^\\[pP](?:\{\^?(\w+)\}|(\w))/.exec(rest);
    if (unicode === null) return `\\${char} is not supported`;
    const name = unicode[1] ?? unicode[2]!;
    return isUnicodeClass(name) ? this.#atom(unicode[0].length) : `${unicode[0]} is no class`;
  }
}

function escapedPoint(text: string): number {
  const char = text[1]!;
  if ((PERL_CLASSES + 'pP').includes(char)) return -1;
  if (char === 'x') return parseInt(text.replace(/[\\x{}]/g, ''), 16);
  if (/\d/.test(char)) return parseInt(text.slice(1), 8);
  const control = CONTROLS.indexOf(char);
  return control >= 0 ? [7, 12, 10, 13, 9, 11][control]! : char.codePointAt(0)!;
}

/** A general category or a script. */
function isUnicodeClass(name: string): boolean {
  if (name === 'Any') return true;
  try {
    new RegExp(`^\\p{${name.length <= 2 ? 'gc' : 'sc'}=${name}}$`, 'u');
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}
