/** What a request asks for, read from its method and path alone: the attributes that RBAC decides on. */
import { selectedName } from './selector.ts';

export interface RequestInfo {
  readonly verb: string;
  /** False for discovery, health and the like. */
  readonly isResource: boolean;
  readonly path: string;
  readonly group: string;
  readonly version: string;
  readonly namespace: string;
  readonly plural: string;
  readonly name: string;
  /** The name in the path, or the one that a list selects: what RBAC's resourceNames are compared with. */
  readonly authorizedName: string;
  readonly subresource: string;
  readonly query: URLSearchParams;
}

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' };

export function readRequest(method: string, target: string): RequestInfo {
  const url = new URL(target, 'http://server');
  const path = url.pathname;
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const query = url.searchParams;
  const plain = {
    verb: method.toLowerCase(),
    isResource: false,
    path,
    group: '',
    version: '',
    namespace: '',
    plural: '',
    name: '',
    authorizedName: '',
    subresource: '',
    query,
  };
  let rest: string[];
  let [group, version] = ['', ''];
  if (parts[0] === 'api' && parts.length >= 3) [version, rest] = [parts[1]!, parts.slice(2)];
  else if (parts[0] === 'apis' && parts.length >= 4) [group, version, rest] = [parts[1]!, parts[2]!, parts.slice(3)];
  else return plain;
  let namespace = '';
  // `namespaces/x` alone, `namespaces/x/status` and `namespaces/x/finalize` are the namespace; anything deeper is in it.
  if (rest[0] === 'namespaces' && rest.length >= 3 && !['status', 'finalize'].includes(rest[2]!)) {
    namespace = rest[1]!;
    rest = rest.slice(2);
  }
  const [plural = '', pathName = '', subresource = ''] = rest;
  if (rest[0] === 'namespaces' && pathName !== '' && group === '') namespace = pathName;
  const watching = isTrue(query.get('watch'));
  let verb = VERBS[method] ?? (pathName !== '' ? 'get' : watching ? 'watch' : 'list');
  if (verb === 'delete' && pathName === '') verb = 'deletecollection';
  let authorizedName = pathName;
  if (pathName === '' && ['list', 'watch', 'deletecollection'].includes(verb))
    authorizedName = selectedName(query.get('fieldSelector') ?? '') ?? '';
  return {
    verb,
    isResource: true,
    path,
    group,
    version,
    namespace,
    plural,
    name: pathName,
    authorizedName,
    subresource,
    query,
  };
}

export function isTrue(value: string | null): boolean {
  return value === 'true' || value === '1' || value === '';
}
