/**
 * The agent's REST models: Cilium agent API v1, field for field, so that its clients read Weir. What Weir adds is marked
 * "Weir:". Every field that may be missing on the wire is optional here.
 */
export type * from './models/daemon.ts';
export type * from './models/endpoint.ts';
export type * from './models/fqdn.ts';
export type * from './models/health.ts';
export type * from './models/ipam.ts';
export type * from './models/map.ts';
export type * from './models/monitor.ts';
export type * from './models/policy.ts';
export type * from './models/service.ts';
