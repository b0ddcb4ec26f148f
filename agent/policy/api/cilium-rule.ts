/** One `spec` of a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy. */
import type { Direction } from '../../model/mapstate.ts';
import type { Rule, RuleOrigin, RuleStanza } from '../rule.ts';
import { anything, boolean, list, object, string } from './decode.ts';
import { endpointSelector, scopedSubject, selectsInit } from './endpoint-selector.ts';
import type { SelectorDraft } from './label-selector.ts';
import type { Reading, Refused } from './reading.ts';
import { ruleLabels } from './rule-labels.ts';
import { NO_SCOPE } from './scope.ts';
import { stanzaDecoder } from './stanza.ts';

/** Stanzas are decoded after the subject: what they mean depends on it. */
const rawRule = object({
  endpointSelector,
  nodeSelector: endpointSelector,
  ingress: anything,
  ingressDeny: anything,
  egress: anything,
  egressDeny: anything,
  enableDefaultDeny: object({ ingress: boolean, egress: boolean }),
  labels: ruleLabels,
  description: string,
  log: object({ value: string }),
});

type RawRule = NonNullable<ReturnType<typeof rawRule>>;

const STANZA_FIELDS = [
  { field: 'ingress', direction: 'ingress', action: 'allow' },
  { field: 'ingressDeny', direction: 'ingress', action: 'deny' },
  { field: 'egress', direction: 'egress', action: 'allow' },
  { field: 'egressDeny', direction: 'egress', action: 'deny' },
] as const;

/** Decodes a rule at the reading's present path. `origin` is of the whole object. */
export function ciliumRule(value: unknown, origin: Omit<RuleOrigin, 'path'>, reading: Reading): Rule | Refused {
  const raw = rawRule(value, reading);
  if (raw === null) return null;
  checkSubject(raw, origin, reading);
  const subject = raw.endpointSelector ?? raw.nodeSelector ?? { labels: new Map(), expressions: [] };
  const hostPolicy = raw.nodeSelector !== undefined;
  const selector = hostPolicy ? scopedSubject(subject, '') : scopedSubject(subject, origin.namespace);
  const stanzas = stanzasOf(raw, origin, { hostPolicy, subject }, reading);
  const selects = (direction: Direction): boolean => stanzas.some((stanza) => stanza.direction === direction);
  const spoken = { ingress: selects('ingress'), egress: selects('egress') };
  return {
    origin: { ...origin, path: reading.field },
    tier: 'normal',
    priority: 0,
    subject: { kind: hostPolicy ? 'node' : 'endpoint', selector },
    stanzas,
    defaultDeny: defaultDenyOf(raw, spoken, reading),
    selects: spoken,
    ...(raw.description === undefined ? {} : { description: raw.description }),
    ...(raw.labels === undefined ? {} : { labels: raw.labels }),
    ...(raw.log?.value === undefined ? {} : { log: raw.log.value }),
  };
}

function checkSubject(
  { endpointSelector: endpoint, nodeSelector: node }: RawRule,
  origin: Omit<RuleOrigin, 'path'>,
  reading: Reading,
): void {
  if (endpoint === undefined && node === undefined) {
    reading.issue('the rule has no subject', {
      under: ['endpointSelector'],
      remedy: 'add endpointSelector; {} selects every pod',
    });
  }
  if (endpoint !== undefined && node !== undefined) {
    reading.issue('endpointSelector and nodeSelector exclude each other', {
      under: ['nodeSelector'],
      remedy: 'write two rules',
    });
  }
  if (node !== undefined && origin.kind === 'CiliumNetworkPolicy') {
    reading.issue('nodes belong to no namespace', {
      under: ['nodeSelector'],
      remedy: 'use a CiliumClusterwideNetworkPolicy for nodes',
    });
  }
}

function stanzasOf(
  raw: RawRule,
  origin: Omit<RuleOrigin, 'path'>,
  { hostPolicy, subject }: { hostPolicy: boolean; subject: SelectorDraft },
  reading: Reading,
): readonly RuleStanza[] {
  const stanzas: RuleStanza[] = [];
  const subjectIsInit = selectsInit(subject);
  for (const { field, direction, action } of STANZA_FIELDS) {
    const items = raw[field];
    if (items === undefined) continue;
    reading.scope = { namespace: origin.namespace, subjectIsInit, hostPolicy, direction, action };
    const decode = stanzaDecoder(direction, action);
    reading.enter(field);
    const decoded = list<RuleStanza>((item, within) => {
      const body = decode(item, within);
      return body === null ? null : { origin: { ...origin, path: within.field }, direction, action, ...body };
    })(items, reading);
    stanzas.push(...(decoded ?? []));
    reading.leave();
  }
  reading.scope = NO_SCOPE;
  if (STANZA_FIELDS.every(({ field }) => isEmpty(raw[field]))) {
    reading.issue('the rule says nothing', {
      remedy: 'add ingress, ingressDeny, egress or egressDeny; ingress: [{}] denies all ingress',
    });
  }
  return stanzas;
}

function isEmpty(items: unknown): boolean {
  return items === undefined || (Array.isArray(items) && items.length === 0);
}

/** Unset means "if the rule has a stanza of that direction" (S13). */
function defaultDenyOf(
  { enableDefaultDeny = {} }: RawRule,
  spoken: Rule['selects'],
  { options }: Reading,
): Rule['defaultDeny'] {
  if (!options.nonDefaultDenyPolicies) return spoken;
  return {
    ingress: spoken.ingress && (enableDefaultDeny.ingress ?? true),
    egress: spoken.egress && (enableDefaultDeny.egress ?? true),
  };
}
