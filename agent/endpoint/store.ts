import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../model/clock.ts';
import { endpointId, type EndpointId } from '../model/endpoint.ts';
import type { WeirError } from '../model/errors.ts';
import { JsonFile } from '../state/json-file.ts';
import { decodeRecord, encodeRecord, type EndpointRecord } from './record.ts';

/** What the state directory held at the start. */
export interface StoredEndpoints {
  readonly records: readonly EndpointRecord[];
  /** Files that were set aside. */
  readonly problems: readonly WeirError[];
  /** Numbers of the endpoints whose files were set aside: things of theirs may still be in the kernel. */
  readonly lost: readonly EndpointId[];
}

/** Records of endpoints on disk: `<directory>/<id>.json`. */
export class EndpointStore {
  readonly #directory: string;
  readonly #files = new Map<EndpointId, JsonFile<Readonly<Record<string, unknown>>>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Reads every record; what does not decode is set aside and told. */
  async load(clock: Clock): Promise<StoredEndpoints> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    });
    const records: EndpointRecord[] = [];
    const problems: WeirError[] = [];
    const lost: EndpointId[] = [];
    for (const name of names.filter((candidate) => /^\d+\.json$/.test(candidate))) {
      const id = endpointId(Number.parseInt(name, 10));
      const file = new JsonFile(join(this.#directory, name), (json) => {
        const record = decodeRecord(json);
        if (record.id !== id) throw new Error(`id must be ${id}, as the file is called`);
        return record;
      });
      const outcome = await file.read(clock.now());
      if (outcome.kind === 'value') records.push(outcome.value);
      if (outcome.kind !== 'corrupt') continue;
      problems.push(outcome.error);
      lost.push(id);
    }
    records.sort((a, b) => a.id - b.id);
    return { records, problems, lost };
  }

  /** @throws WeirError STATE_WRITE_FAILED */
  async save(record: EndpointRecord): Promise<void> {
    await this.#file(record.id).write(encodeRecord(record));
  }

  async remove(id: EndpointId): Promise<void> {
    await this.#file(id).remove();
    this.#files.delete(id);
  }

  #file(id: EndpointId): JsonFile<Readonly<Record<string, unknown>>> {
    let file = this.#files.get(id);
    if (file === undefined) {
      file = new JsonFile(join(this.#directory, `${id}.json`), (json) => json as Readonly<Record<string, unknown>>);
      this.#files.set(id, file);
    }
    return file;
  }
}
