import { formatCidr } from '../model/address.ts';
import { socketKey, type Backend, type Frontend } from '../model/service.ts';

export function sameFrontend(a: Frontend, b: Frontend): boolean {
  return (
    a.id === b.id &&
    socketKey(a) === socketKey(b) &&
    a.kind === b.kind &&
    a.service === b.service &&
    a.portName === b.portName &&
    a.internalTrafficPolicy === b.internalTrafficPolicy &&
    a.externalTrafficPolicy === b.externalTrafficPolicy &&
    a.affinitySeconds === b.affinitySeconds &&
    sameList(a.backends, b.backends) &&
    sameList(a.externalBackends, b.externalBackends) &&
    (a.sourceRanges === undefined) === (b.sourceRanges === undefined) &&
    sameList(a.sourceRanges?.map(formatCidr) ?? [], b.sourceRanges?.map(formatCidr) ?? [])
  );
}

export function sameBackend(a: Backend, b: Backend): boolean {
  return (
    a.id === b.id && a.state === b.state && a.node === b.node && a.zone === b.zone && socketKey(a) === socketKey(b)
  );
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
