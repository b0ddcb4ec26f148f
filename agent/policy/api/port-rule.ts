/** One item of `toPorts`: ports, and what happens to their traffic at layer 7. */
import { PROTOCOL } from '../../model/port.ts';
import type { PortSelector } from '../rule.ts';
import { integer, list, object, string, then, type Decoder } from './decode.ts';
import { hasL7Rules, l7Fields, l7Spec, type L7Draft } from './l7.ts';
import { checkedEndPort, parsePort, parseProtocol, portText } from './port.ts';
import type { Reading, Refused } from './reading.ts';

const MAX_PORTS = 40;

const portProtocol = object({ port: portText, endPort: integer, protocol: string });

type PortProtocol = NonNullable<ReturnType<typeof portProtocol>>;

const ports = then(list(portProtocol), (items, reading) => {
  if (items.length <= MAX_PORTS) return items;
  return reading.issue(`more than ${MAX_PORTS} ports`, {
    remedy: 'use a range, or spread the ports over several rules',
  });
});

/** `toPorts[]` of a rule that allows. */
export const portRule: Decoder<readonly PortSelector[]> = then(
  object({ ports, ...l7Fields }, { redirectPort: 'use listener' }),
  (rule, reading) => portSelectors(rule.ports ?? [], rule, reading),
);

/** `toPorts[]` of a rule that denies: ports only. */
export const portDenyRule: Decoder<readonly PortSelector[]> = then(
  object({ ports }, { rules: 'a deny rule has no layer 7: deny the port, or allow with rules that match less' }),
  (rule, reading) => portSelectors(rule.ports ?? [], {}, reading),
);

function portSelectors(items: readonly PortProtocol[], draft: L7Draft, reading: Reading): readonly PortSelector[] {
  const dns = (draft.rules?.dns ?? []).length > 0;
  const l7 = l7Spec(draft, items.length, reading);
  const selectors: PortSelector[] = [];
  reading.enter('ports');
  for (const [i, item] of items.entries()) {
    reading.enter(i);
    const selector = portSelector(item, reading);
    if (selector !== null) {
      if (hasL7Rules(draft)) checkL7Port(selector, dns, reading);
      selectors.push(l7 === undefined ? selector : { ...selector, l7 });
    }
    reading.leave();
  }
  reading.leave();
  return selectors;
}

function portSelector(item: PortProtocol, reading: Reading): PortSelector | Refused {
  const { port = '', endPort = 0, protocol: protocolText = '' } = item;
  const protocol = reading.at('protocol', () => parseProtocol(protocolText, reading));
  // Present, but of a wrong type: said already.
  if (item.port === undefined && 'port' in item) return null;
  if (port === '') {
    if (reading.options.extendedIPProtocols) return protocol && { protocol: protocol.number, port: { kind: 'any' } };
    return reading.issue('the port is missing', { under: ['port'], remedy: 'give a port; "0" means every port' });
  }
  const match = reading.at('port', () => parsePort(port, checkedEndPort(endPort, reading), reading));
  if (protocol === null || match === null) return null;
  if (!protocol.hasPorts && match.kind === 'number') {
    const remedy = 'leave the port out, or write "0"';
    return reading.issue('this protocol has no ports', { under: ['port'], value: port, remedy });
  }
  return { protocol: protocol.number, port: match };
}

/** Layer 7 needs a stream to read; only DNS is read from datagrams as well (S36). */
function checkL7Port({ protocol, port }: PortSelector, dns: boolean, reading: Reading): void {
  if (port.kind === 'any') {
    reading.issue('layer 7 rules cannot apply to every port', {
      under: ['port'],
      remedy: 'name the port that the proxy shall read',
    });
  }
  if (dns && port.kind === 'number' && port.endPort > port.port) {
    reading.issue('DNS rules cannot apply to a port range', {
      under: ['endPort'],
      value: port.endPort,
      remedy: 'name a single port',
    });
  }
  if (!dns && protocol !== PROTOCOL.TCP) {
    reading.issue('layer 7 rules other than DNS apply to TCP only', {
      under: ['protocol'],
      remedy: 'set protocol: TCP',
    });
  }
}
