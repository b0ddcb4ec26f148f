/** Who is asking: bearer tokens, some of which expire. */
import { randomUUID } from 'node:crypto';
import { unauthorized } from './status.ts';

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

interface Token {
  readonly user: User;
  /** Milliseconds since the epoch. */
  readonly expires: number;
}

const ANONYMOUS: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

const ADMIN: User = { name: 'kubernetes-admin', groups: ['system:masters', 'system:authenticated'] };

export class Users {
  readonly #tokens = new Map<string, Token>();
  readonly adminToken: string;

  constructor(adminToken: string = randomUUID()) {
    this.adminToken = adminToken;
    this.#tokens.set(adminToken, { user: ADMIN, expires: Infinity });
  }

  /** A token of a user; `system:serviceaccount:<namespace>:<name>` is in the groups of its kind. */
  issue(name: string, options: { groups?: readonly string[]; token?: string; ttlMs?: number } = {}): string {
    const token = options.token ?? randomUUID();
    const account = /^system:serviceaccount:([^:]+):[^:]+$/.exec(name);
    const groups = [
      ...(options.groups ?? []),
      ...(account === null ? [] : ['system:serviceaccounts', `system:serviceaccounts:${account[1]!}`]),
      'system:authenticated',
    ];
    this.#tokens.set(token, { user: { name, groups }, expires: Date.now() + (options.ttlMs ?? Infinity) });
    return token;
  }

  revoke(token: string): void {
    this.#tokens.delete(token);
  }

  lookup(token: string): User | undefined {
    const known = this.#tokens.get(token);
    return known === undefined || known.expires <= Date.now() ? undefined : known.user;
  }

  /** The user of an Authorization header; throws for a token that is unknown or has expired. */
  authenticate(authorization: string | undefined): User {
    if (authorization === undefined) return ANONYMOUS;
    const token = /^Bearer\s+(\S+)$/i.exec(authorization)?.[1];
    const user = token === undefined ? undefined : this.lookup(token);
    if (user === undefined) throw unauthorized();
    return user;
  }
}
