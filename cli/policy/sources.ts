/** Reading what the offline commands work on: files, directories of manifests, standard input. */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { errorText, WeirError } from '../../agent/model/errors.ts';
import type { ManifestText } from './validate.ts';

const MANIFEST = /\.(?:ya?ml|json)$/;

/**
 * Reads every file. A directory stands for the manifests in it, at any depth; `-` for standard input.
 *
 * @throws WeirError REQUEST_INVALID for what cannot be read.
 */
export async function readManifests(words: readonly string[], stdin: NodeJS.ReadableStream): Promise<ManifestText[]> {
  const files: ManifestText[] = [];
  for (const word of words) {
    if (word === '-') files.push({ file: '<stdin>', text: await text(stdin) });
    else for (const file of await expand(word)) files.push({ file, text: await read(file) });
  }
  return files;
}

async function expand(word: string): Promise<string[]> {
  const found = await stat(word).catch((error: unknown) => refuse(word, error));
  if (!found.isDirectory()) return [word];
  const names = await readdir(word, { recursive: true });
  return names
    .filter((name) => MANIFEST.test(name))
    .sort()
    .map((name) => path.join(word, name));
}

async function read(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => refuse(file, error));
}

/** Throws that a file cannot be read. */
export function refuse(file: string, error: unknown): never {
  throw new WeirError('REQUEST_INVALID', errorText(error), {
    field: file,
    remedy: 'name a file or directory that can be read',
    cause: error,
  });
}
