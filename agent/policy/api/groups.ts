import type { PeerSelector } from '../rule.ts';
import { list, object, record, string, then, type Decoder } from './decode.ts';

const group = object({
  aws: object({
    labels: record(string),
    securityGroupsIds: list(string),
    securityGroupsNames: list(string),
    region: string,
  }),
});

/** `fromGroups`, `toGroups`: a group of a cloud, whose addresses a resolver fills in. */
export const groupPeers: Decoder<readonly PeerSelector[]> = list(
  then(group, ({ aws }, reading) => {
    if (aws === undefined) reading.schemaIssue('no provider is given', { remedy: 'describe the group under aws' });
    const { labels, ...rest } = aws ?? {};
    const plain = labels === undefined ? rest : { ...rest, labels: Object.fromEntries(labels) };
    return { kind: 'awsGroup' as const, group: plain };
  }),
);
