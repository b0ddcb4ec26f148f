/** Layer 7 of an endpoint's redirects as answers to scenarios tell it. */
import { protocolName } from '../model/port.ts';
import type { EndpointPolicy, RedirectPolicy } from './contract.ts';
import type { L7Answer } from './scenario.ts';

/** One entry for each redirect and selector; a selector of everybody stands for all `peers`. */
export function l7Answers(policy: EndpointPolicy, peers: readonly number[]): readonly L7Answer[] {
  return policy.redirectPolicies().map((redirect) => l7Answer(redirect, peers));
}

/**
 * What the entries mean, as lines that two engines agree in: for each redirect and peer its rules, each once. How selectors
 * are grouped, and those that select nobody, decide nothing; authentication stands with the verdicts.
 */
export function l7Lines(answers: readonly L7Answer[]): readonly string[] {
  const lines = answers.flatMap(({ peers, auth: _auth, ...rest }) => {
    const plain = canonical(rest);
    return peers.map((peer) => `${rest.dir} ${rest.proto}/${rest.port} peer ${peer}: ${plain}`);
  });
  return [...new Set(lines)].sort();
}

/** JSON without repeats in lists of rules, and with fields and names in one order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${[...new Set(value.map(canonical))].sort().join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(',')}}`;
}

function l7Answer({ redirect, endPort, portName, wildcard, identities, l7 }: RedirectPolicy, all: readonly number[]) {
  const { direction, protocol, port, parser } = redirect;
  const known = new Set(all);
  const peers = wildcard ? all : identities.filter((id) => known.has(id)).sort((a, b) => a - b);
  const rules = l7.rules.length === 0 ? {} : { [parser]: l7.rules };
  return {
    dir: direction,
    proto: protocolName(protocol),
    port,
    ...(endPort > port && { endPort }),
    ...(portName !== '' && { portName }),
    parser: parser === 'crd' ? 'listener' : parser,
    peers,
    ...rules,
    ...(l7.serverNames !== undefined && l7.serverNames.length > 0 && { serverNames: l7.serverNames }),
    ...(redirect.listener !== '' && { listener: redirect.listener }),
  };
}
