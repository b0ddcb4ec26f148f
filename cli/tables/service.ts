/** Services as cilium-dbg prints them. Pure. */
import type { BackendAddress, FrontendAddress, Service } from '../../agent/api/models.ts';
import type { Row } from '../output/table.ts';

/** A row a backend; the first stands beside its frontend. */
export function serviceRows(services: readonly Service[]): Row[] {
  const rows = services
    .toSorted((a, b) => (a.spec?.id ?? 0) - (b.spec?.id ?? 0))
    .flatMap(({ status, spec: wanted }): Row[] => {
      const spec = status?.realized ?? wanted ?? {};
      const head = [String(spec.id ?? 0), frontendText(spec['frontend-address'] ?? {}), spec.flags?.type ?? ''];
      const backends = (spec['backend-addresses'] ?? []).map((backend, i) => `${i + 1} => ${backendText(backend)}`);
      if (backends.length === 0) return [head];
      return backends.map((text, i) => [...(i === 0 ? head : ['', '', '']), text]);
    });
  return [['ID', 'Frontend', 'Service Type', 'Backend'], ...rows];
}

/** Ends in `/i` where it is for clients of this node only. */
function frontendText(frontend: FrontendAddress): string {
  return `${socketText(frontend)}${frontend.scope === 'internal' ? '/i' : ''}`;
}

function backendText(backend: BackendAddress): string {
  return `${socketText(backend)} (${backend.state ?? 'active'})`;
}

function socketText({ ip = '', port = 0, protocol = 'ANY' }: FrontendAddress | BackendAddress): string {
  return `${ip.includes(':') ? `[${ip}]` : ip}:${port}/${protocol}`;
}
