/** What the manifests of install/kubernetes let an account do, and what it did. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { listAt, textAt, type Json } from '../fakes/kube-apiserver/object.ts';
import type { RequestRecord } from '../fakes/kube-apiserver/server.ts';

const folder = path.resolve(import.meta.dirname, '../../install/kubernetes');

/** The objects of a file of the installation. */
export function manifests(file: string): Json[] {
  const documents = parseAllDocuments(readFileSync(path.join(folder, file), 'utf8'));
  return (Array.isArray(documents) ? documents : []).map((document) => document.toJS() as Json);
}

/** `verb group/resource` of every rule of the roles of this name. */
export function granted(name: string): Set<string> {
  const roles = manifests('rbac.yaml').filter(
    (object) => textAt(object, 'kind').endsWith('Role') && textAt(object, 'metadata', 'name') === name,
  );
  const all = roles.flatMap((role) =>
    listAt(role, 'rules').flatMap((rule) =>
      listAt(rule, 'apiGroups').flatMap((group) =>
        listAt(rule, 'resources').flatMap((resource) =>
          listAt(rule, 'verbs').map((verb) => `${String(verb)} ${String(group)}/${String(resource)}`),
        ),
      ),
    ),
  );
  return new Set(all);
}

/**
 * What a service account asked for, as {@link granted} has it; where it watches, older servers have it list. Nothing of it may
 * have been refused.
 */
export function used(records: readonly RequestRecord[], account: string): Set<string> {
  const asked = records.filter(({ user }) => user === `system:serviceaccount:kube-system:${account}`);
  assert.deepEqual(
    asked.filter(({ code }) => code === 401 || code === 403),
    [],
  );
  return new Set(
    asked.flatMap(({ verb, group, resource }) => [
      `${verb} ${group}/${resource}`,
      ...(verb === 'watch' ? [`list ${group}/${resource}`] : []),
    ]),
  );
}
