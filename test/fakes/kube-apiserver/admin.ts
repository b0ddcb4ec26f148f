/**
 * What tests ask of a server in another process, below `/_fake/`, with the administrator's token:
 *
 *   POST faults {fault}         add a fault        POST faults/clear
 *   POST watches/drop {match, clean}               POST watches/pause {match}, watches/resume, watches/bookmark {match}
 *   POST compact                forget old revisions
 *   POST tokens {user, groups, ttlMs}              a new token
 *   POST requests               what was asked, when it is recorded; and forgets it
 */
import type { Answer } from './handler.ts';
import type { Fault, FaultMatch } from './faults.ts';
import type { KubeApiServer } from './server.ts';
import { forbidden, noSuchPath } from './status.ts';
import type { User } from './users.ts';

const PREFIX = '/_fake/';

export const isAdminPath = (path: string): boolean => path.startsWith(PREFIX);

interface Order {
  readonly match?: FaultMatch;
  readonly clean?: boolean;
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly ttlMs?: number;
}

export function answerAdmin(server: KubeApiServer, user: User, path: string, body: Buffer): Answer {
  if (!user.groups.includes('system:masters'))
    throw forbidden(undefined, '', `User "${user.name}" cannot control this server`);
  const order = (body.length === 0 ? {} : JSON.parse(body.toString())) as Order;
  const done = act(server, path.slice(PREFIX.length), order);
  if (done === undefined) throw noSuchPath();
  return { code: 200, body: JSON.stringify(done) };
}

function act(server: KubeApiServer, what: string, order: Order): unknown {
  const { faults } = server;
  switch (what) {
    case 'faults':
      faults.add(order as unknown as Fault);
      return faults.list();
    case 'faults/clear':
      faults.clear();
      return [];
    case 'watches/drop':
      return { dropped: faults.dropWatches(order.match, order.clean) };
    case 'watches/pause':
      faults.pauseWatches(order.match);
      return {};
    case 'watches/resume':
      faults.resumeWatches();
      return {};
    case 'watches/bookmark':
      faults.sendBookmarks(order.match);
      return {};
    case 'compact':
      server.compact();
      return { revision: server.store.revision };
    case 'tokens':
      return {
        token: server.token(order.user ?? '', {
          ...(order.groups && { groups: order.groups }),
          ...(order.ttlMs !== undefined && { ttlMs: order.ttlMs }),
        }),
      };
    case 'requests':
      return server.requests.splice(0);
    default:
      return undefined;
  }
}
