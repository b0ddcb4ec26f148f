/** Explanations for people: at most a screenful, the answer first. */
import { formatLabel } from '../model/labels.ts';
import { AUDIT_ANNOTATION } from './api/index.ts';
import type { Identity } from '../model/identity.ts';
import { protocolName } from '../model/port.ts';
import type { ConsideredStanza, Explanation } from './explain.ts';
import type { RuleOrigin } from './rule.ts';

/** How many stanzas of a kind are listed before the rest is only counted. */
const SHOWN = 8;

/** An explanation in lines; `all` lists every stanza that was considered. */
export function explanationText(explanation: Explanation, all = false): readonly string[] {
  const { direction, subject, peer, protocol, port } = explanation.question;
  const [from, to] = direction === 'ingress' ? [peer, subject] : [subject, peer];
  return [
    `${verdictText(explanation)}: ${protocolName(protocol)}/${port} from ${peerText(from)} to ${peerText(to)}`,
    `judged by the ${direction} policy of ${peerText(subject)}`,
    '',
    ...reasonsText(explanation, all),
  ];
}

/** The part of {@link explanationText} that says why. */
export function reasonsText(explanation: Explanation, all = false): readonly string[] {
  const { considered } = explanation;
  const matching = considered.filter(({ role }) => role !== 'no match');
  const failing = considered.filter(({ role, subject: about }) => role === 'no match' && about.matched);
  const elsewhere = considered.filter(({ role, subject: about }) => role === 'no match' && !about.matched);
  return [
    ...reasonText(explanation),
    ...auditText(explanation),
    ...section('Rules that match', matching, all ? Infinity : SHOWN, matchText),
    ...section('Rules of this subject that do not match', failing, all ? Infinity : SHOWN, failureText),
    ...(all ? section('Rules about other subjects', elsewhere, Infinity, failureText) : otherText(elsewhere.length)),
    ...changeText(explanation),
  ];
}

function otherText(count: number): readonly string[] {
  if (count === 0) return [];
  return [count === 1 ? 'One more rule is about other subjects.' : `${count} more rules are about other subjects.`];
}

/** `DENIED`, `ALLOWED through the http proxy` … */
export function verdictText({ verdict, redirect, auth, audited }: Explanation): string {
  if (verdict !== 'allow') return 'DENIED';
  const extras = [
    redirect === undefined ? undefined : `through the ${redirect} proxy`,
    auth === undefined || auth === 'disabled' ? undefined : `with authentication (${auth})`,
    audited === undefined ? undefined : 'and audited',
  ].filter((extra) => extra !== undefined);
  return ['ALLOWED', ...extras].join(' ');
}

function reasonText({ verdict, enforced, derivedFrom, defaultDeny, question }: Explanation): readonly string[] {
  if (!enforced) return [`No policy is enforced for ${question.direction} here: everything is allowed.`];
  if (derivedFrom?.startsWith('allow-localhost') === true) return ['The node may always reach its own pods.'];
  if (derivedFrom?.startsWith('allow-any') === true)
    return ['No rule here denies by default: what is not denied is allowed.'];
  if (verdict === 'allow') return ['A rule allows it.'];
  if (verdict === 'deny' && derivedFrom === undefined) return ['A rule denies it.'];
  if (defaultDeny.length === 0) return ['Nothing allows it, and this endpoint is always enforced.'];
  const names = [...new Set(defaultDeny.map(objectText))];
  return [
    'Nothing allows it, and these policies deny by default:',
    ...shortened(names, SHOWN).map((name) => `  ${name}`),
  ];
}

function auditText({ audited }: Explanation): readonly string[] {
  if (audited === undefined) return [];
  const how = audited.verdict === 'deny' ? 'would deny it' : 'would deny it by default';
  return [
    `Audited policies are not enforced; these ${how}, so it is forwarded and reported:`,
    ...shortened([...new Set(audited.origins.map(placeText))], SHOWN).map((name) => `  ${name}`),
  ];
}

function section(
  title: string,
  stanzas: readonly ConsideredStanza[],
  limit: number,
  text: (stanza: ConsideredStanza) => string,
): readonly string[] {
  if (stanzas.length === 0) return [];
  return [`${title}:`, ...shortened(stanzas.map(text), limit).map((line) => `  ${line}`)];
}

function shortened(lines: readonly string[], limit: number): readonly string[] {
  return lines.length <= limit ? lines : [...lines.slice(0, limit - 1), `… and ${lines.length - limit + 1} more`];
}

const DOES = { allow: 'allows', deny: 'denies', pass: 'passes' } as const;

function matchText({ origin, action, role, peer, port, l7 }: ConsideredStanza): string {
  const where = `${placeText(origin)} ${DOES[action]} ${peer.text} on ${port.text}`;
  return `${role.padEnd(9)} ${where}${l7 === undefined ? '' : ` by ${l7}`}`;
}

function failureText({ origin, action, audited, subject, peer, port }: ConsideredStanza): string {
  const failures = [
    subject.matched ? undefined : `subject: wants ${subject.text}`,
    peer.matched ? undefined : `peer: wants ${peer.text}`,
    port.matched ? undefined : `port: wants ${port.text}`,
  ].filter((failure) => failure !== undefined);
  return `${action.padEnd(5)} ${placeText(origin)}${audited ? ' (audited)' : ''}: ${failures.join('; ')}`;
}

/** The smallest change that turns the verdict around. */
function changeText(explanation: Explanation): readonly string[] {
  const { verdict, enforced, considered, nearest, question } = explanation;
  const deciding = considered.filter(({ role }) => role === 'decides');
  if (verdict === 'allow') {
    if (explanation.audited !== undefined) return [`To deny it: remove the annotation ${AUDIT_ANNOTATION} there.`];
    if (!enforced) return [`To deny it: select the subject with a policy that has ${question.direction} rules.`];
    if (deciding.length === 0) return [`To deny it: add a rule to ${question.direction}Deny.`];
    if (deciding.length > 1)
      return [`To deny it: add a rule to ${question.direction}Deny; ${deciding.length} rules allow it.`];
    return [`To deny it: remove ${placeText(deciding[0]!.origin)}, or add a rule to ${question.direction}Deny.`];
  }
  if (verdict === 'deny' && deciding.length > 0) {
    return [`To allow it: take it out of ${deciding.map(({ origin }) => placeText(origin)).join(' and ')}.`];
  }
  const added = `add an ${question.direction} rule for ${protocolName(question.protocol)}/${question.port}`;
  if (nearest === undefined) return [`To allow it: ${added}.`];
  return [`To allow it: ${nearestText(nearest, explanation)}, or ${added}.`];
}

function nearestText({ origin, subject, peer, port }: ConsideredStanza, { question }: Explanation): string {
  const place = placeText(origin);
  const steps = [
    subject.matched ? undefined : `give the subject ${subject.text}`,
    peer.matched ? undefined : `give the peer ${peer.text}`,
    port.matched ? undefined : `add port ${protocolName(question.protocol)}/${question.port}`,
  ].filter((step) => step !== undefined);
  return `nearest is ${place}: ${steps.join(' and ')}`;
}

function objectText({ kind, namespace, name }: RuleOrigin): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
}

function placeText(origin: RuleOrigin): string {
  return `${objectText(origin)} ${origin.path}`;
}

/** The labels that tell an identity from others. */
function peerText({ id, labels }: Identity): string {
  const telling = labels.filter(({ key }) => !key.startsWith('io.cilium.') || key.endsWith('.serviceaccount'));
  return `${id} (${telling.map(formatLabel).join(' ')})`;
}
