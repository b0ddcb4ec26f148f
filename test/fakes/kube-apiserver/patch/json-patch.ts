/** JSON patch (RFC 6902). */
import { deepCopy, deepEqual, isObject } from '../object.ts';
import { ApiError, badRequest } from '../status.ts';

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  let result = deepCopy(document);
  for (const operation of patch as readonly Operation[]) result = step(result, operation);
  return result;
}

function step(document: unknown, { op, path, from, value }: Operation): unknown {
  if (typeof path !== 'string') throw badRequest('a JSON patch operation has no path');
  switch (op) {
    case 'add':
      return write(document, path, deepCopy(value), true);
    case 'replace':
      read(document, path, 'replace');
      return write(document, path, deepCopy(value), false);
    case 'remove':
      return remove(document, path);
    case 'test':
      if (!deepEqual(read(document, path, 'test') ?? null, value ?? null)) throw failed(`testing value ${path} failed`);
      return document;
    case 'copy':
      return write(document, path, deepCopy(read(document, from ?? '', 'copy')), true);
    case 'move': {
      const moved = read(document, from ?? '', 'move');
      return write(remove(document, from ?? ''), path, moved, true);
    }
    default:
      throw badRequest(`unexpected kind of JSON patch operation: ${op}`);
  }
}

const failed = (message: string): ApiError =>
  new ApiError(422, 'Invalid', `the server rejected our request due to an error in our request: ${message}`, {});

function tokens(path: string): string[] {
  if (path === '') return [];
  return path
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function read(document: unknown, path: string, op: string): unknown {
  let current = document;
  for (const token of tokens(path)) {
    const next: unknown = Array.isArray(current)
      ? (current as readonly unknown[])[Number(token)]
      : isObject(current)
        ? current[token]
        : undefined;
    if (next === undefined) {
      if (op === 'test') return undefined;
      throw failed(`${op} operation does not apply: doc is missing path: ${path}: missing value`);
    }
    current = next;
  }
  return current;
}

function write(document: unknown, path: string, value: unknown, insert: boolean): unknown {
  const parts = tokens(path);
  const last = parts.pop();
  if (last === undefined) return value;
  const parent = parentOf(document, parts, path);
  if (Array.isArray(parent)) {
    const index = last === '-' ? parent.length : Number(last);
    if (!Number.isInteger(index) || index < 0 || index > parent.length)
      throw failed(`add operation does not apply: doc is missing path: "${path}": invalid index`);
    parent.splice(index, insert ? 0 : 1, value);
  } else parent[last] = value;
  return document;
}

function remove(document: unknown, path: string): unknown {
  read(document, path, 'remove');
  const parts = tokens(path);
  const last = parts.pop();
  if (last === undefined) return null;
  const parent = parentOf(document, parts, path);
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the object is plain JSON
  else delete parent[last];
  return document;
}

function parentOf(document: unknown, parts: readonly string[], path: string): unknown[] | Record<string, unknown> {
  const parent = read(
    document,
    parts.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join(''),
    'add',
  );
  if (!Array.isArray(parent) && !isObject(parent))
    throw failed(`operation does not apply: doc is missing path: "${path}"`);
  return parent;
}
