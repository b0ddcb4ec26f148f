import { open, type FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { Header } from 'tar';
import { errorText } from '../../agent/model/errors.ts';
import { redactText } from './redact.ts';

/** One file of the bundle, made when its turn comes. */
export interface Part {
  readonly path: string;
  collect(signal: AbortSignal): Promise<string>;
}

/** What became of the parts. */
export interface BundleOutcome {
  readonly written: number;
  /** `path: why`, for the parts that are missing. */
  readonly failures: readonly string[];
}

const BLOCK = 512;
/** One part must not keep the others from being written, in milliseconds. */
const PART_MS = 30_000;

const compress = promisify(gzip);

/**
 * Writes a `.tar.gz` that only its owner may read. A part that cannot be had is missing, and the reason stands in
 * `failures.txt` of the bundle. Each file is a gzip member of its own: no more than one is in memory.
 *
 * @throws what the file system answers
 */
export async function writeBundle(
  file: string,
  parts: readonly Part[],
  { now, onPart }: { readonly now: number; readonly onPart: (path: string, failure?: string) => void },
): Promise<BundleOutcome> {
  await using output = await open(file, 'wx', 0o600);
  const mtime = new Date(now);
  const failures: string[] = [];
  for (const part of parts) {
    let failure: string | undefined;
    try {
      const text = await part.collect(AbortSignal.timeout(PART_MS));
      await append(output, part.path, redactText(text), mtime);
    } catch (error) {
      failure = redactText(errorText(error));
      failures.push(`${part.path}: ${failure}`);
    }
    onPart(part.path, failure);
  }
  if (failures.length > 0) await append(output, 'failures.txt', `${failures.join('\n')}\n`, mtime);
  // Two empty blocks end an archive (POSIX.1, ustar).
  await output.write(await compress(Buffer.alloc(2 * BLOCK)));
  return { written: parts.length - failures.length, failures };
}

async function append(output: FileHandle, path: string, text: string, mtime: Date): Promise<void> {
  const content = Buffer.from(text);
  const header = Buffer.alloc(BLOCK);
  new Header({ path: `weir-sysdump/${path}`, mode: 0o600, size: content.length, mtime, type: 'File' }).encode(header);
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
  await output.write(await compress(Buffer.concat([header, content, padding])));
}
