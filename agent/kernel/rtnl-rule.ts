/** Routing rules as rtnetlink messages: which table a packet's route comes from (linux/fib_rules.h). */
import { formatRule, formatRuleAttrs, parseRule, parseRuleAttrs, RuleAction } from 'netlink/dist/rt/gen_structs.js';
import type { Address } from '../model/address.ts';
import { addressFamily, familyOf } from './address-family.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { messageBody, RTM } from './rtnl-message.ts';

/** Packets that match look their route up in `table`. */
export interface Rule {
  readonly family: Address['family'];
  /** Lower comes first. */
  readonly priority: number;
  readonly table: number;
  /** Packets whose mark, under the mask, is this. */
  readonly mark?: { readonly value: number; readonly mask: number };
  /** Packets that came in by this link. */
  readonly inputInterface?: string;
}

/** Adds a rule; EEXIST when it is there. */
export function addRule(rule: Rule): NetlinkRequest {
  return {
    type: RTM.NEWRULE,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    body: ruleBody(rule),
    operation: `add ${ruleText(rule)}`,
  };
}

export function deleteRule(rule: Rule): NetlinkRequest {
  return { type: RTM.DELRULE, flags: 0, body: ruleBody(rule), operation: `delete ${ruleText(rule)}` };
}

function ruleBody({ family, priority, table, mark, inputInterface }: Rule): Uint8Array {
  return messageBody(
    formatRule({ family: addressFamily(family), action: RuleAction.toTbl }),
    formatRuleAttrs({
      priority,
      table,
      ...(mark === undefined ? {} : { fwmark: mark.value, fwmask: mark.mask }),
      ...(inputInterface === undefined ? {} : { iifname: inputInterface }),
    }),
  );
}

function ruleText({ priority, table }: Rule): string {
  return `rule ${priority} for table ${table}`;
}

/** Asks for the rules of a family; a dump. */
export function getRules(family: Address['family']): NetlinkRequest {
  const body = messageBody(formatRule({ family: addressFamily(family) }));
  return { type: RTM.GETRULE, flags: 0, body, operation: 'list routing rules' };
}

const RULE_HEADER = 12;

/** Reads an RTM_NEWRULE body; undefined for rules that do something else than name a table. */
export function parseRuleMessage(body: Buffer): Rule | undefined {
  const header = parseRule(body.subarray(0, RULE_HEADER));
  const attributes = parseRuleAttrs(body.subarray(RULE_HEADER));
  const family = familyOf(header.family);
  if (family === undefined || header.action !== 'toTbl') return undefined;
  const { fwmark, fwmask, iifname } = attributes;
  return {
    family,
    priority: attributes.priority ?? 0,
    table: attributes.table ?? header.table ?? 0,
    ...(fwmark === undefined ? {} : { mark: { value: fwmark, mask: fwmask ?? 0xffffffff } }),
    ...(iifname === undefined ? {} : { inputInterface: iifname }),
  };
}
