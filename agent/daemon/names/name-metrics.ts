/** What is known of names, under Cilium's names, read when somebody asks. */
import { Gauge, type Registry } from 'prom-client';
import type { Names } from './names.ts';

type Counted = Pick<Names, 'holdings' | 'collectedNames' | 'counts'>;

export function nameMetrics(registry: Registry, names: Counted): void {
  const registers = [registry];
  const perEndpoint = (name: string, help: string, what: 'names' | 'addresses' | 'zombies'): void => {
    new Gauge({
      name,
      help,
      labelNames: ['endpoint'],
      registers,
      collect() {
        this.reset();
        for (const holding of names.holdings()) this.set({ endpoint: String(holding.endpoint) }, holding[what]);
      },
    });
  };
  perEndpoint('cilium_fqdn_active_names', 'Names with addresses within their TTL', 'names');
  perEndpoint('cilium_fqdn_active_ips', 'Addresses of names within their TTL', 'addresses');
  perEndpoint('cilium_fqdn_alive_zombie_connections', 'Addresses past their TTL, kept for live connections', 'zombies');
  new Gauge({
    name: 'cilium_fqdn_gc_deletions_total',
    help: 'Names that were let go after their time',
    registers,
    collect() {
      this.set(names.collectedNames);
    },
  });
  new Gauge({
    name: 'cilium_fqdn_selectors',
    help: 'Names and patterns that policies use',
    registers,
    collect() {
      this.set(names.counts.selectors);
    },
  });
}
