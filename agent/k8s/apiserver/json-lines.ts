/** Chunks of bytes → the JSON objects that stand in them, one a line, as a watch delivers them. */
export class JsonLines {
  /** The beginning of a line whose end has not come yet. */
  #rest: Buffer[] = [];

  /**
   * What is complete with this chunk.
   *
   * @throws SyntaxError when a line is no JSON: the stream cannot be trusted from there on.
   */
  push(chunk: Buffer): unknown[] {
    const end = chunk.lastIndexOf(0x0a);
    if (end < 0) {
      this.#rest.push(chunk);
      return [];
    }
    const whole = Buffer.concat([...this.#rest, chunk.subarray(0, end)]).toString('utf8');
    this.#rest = end + 1 < chunk.length ? [chunk.subarray(end + 1)] : [];
    return whole
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as unknown);
  }
}
