import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatCidr } from '../model/address.ts';
import { CloudGroupFile } from './cloud-group-file.ts';
import type { CloudGroup } from './cloud-groups.ts';

const FILE = `groups:
  - aws: { securityGroupsIds: [sg-1, sg-2], region: eu, labels: { team: shop, tier: web } }
    cidrs: [10.9.0.0/24, "2001:db8::7"]
  - aws: { securityGroupsIds: [sg-2], securityGroupsNames: [data], region: us }
    cidrs: [10.8.0.1]
`;

describe('a file of cloud groups', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'weir-groups-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));
  const open = (text: string): CloudGroupFile => {
    writeFileSync(join(dir, 'groups.yaml'), text);
    return new CloudGroupFile(join(dir, 'groups.yaml'), { onError: assert.ifError });
  };

  const [eu, us] = [['10.9.0.0/24', '2001:db8::7/128'], ['10.8.0.1/32']];
  const cases: readonly [CloudGroup, readonly string[] | undefined][] = [
    [{ securityGroupsIds: ['sg-1'] }, eu],
    [{ securityGroupsIds: ['sg-2'] }, [...eu, ...us]],
    [{ securityGroupsIds: ['sg-2'], region: 'us' }, us],
    [{ securityGroupsNames: ['data', 'other'] }, us],
    [{ labels: { team: 'shop' } }, eu],
    [{ labels: { team: 'shop', tier: 'db' } }, undefined],
    [{ securityGroupsIds: ['sg-3'] }, undefined],
  ];
  for (const [group, expected] of cases) {
    test(JSON.stringify(group), async () => {
      assert.deepEqual((await open(FILE).resolve(group))?.map(formatCidr), expected);
    });
  }

  const faults: readonly [string, string][] = [
    ['[]', 'groups'],
    ['groups: {}', 'groups'],
    ['groups: [{aws: {}, cidrs: [10.0.0.300]}]', 'groups[0].cidrs[0]'],
    ['groups: [{aws: {}}]', 'groups[0].cidrs'],
    ['groups: [{aws: {labels: {a: 1}}, cidrs: []}]', 'groups[0].aws.labels.a'],
    ['groups: [{gcp: {}, cidrs: []}]', 'groups[0].gcp'],
    ['groups: [', '--cloud-groups'],
  ];
  for (const [text, field] of faults) {
    test(`refuses ${text}`, () => {
      assert.throws(() => open(text), { code: 'CONFIG_INVALID', field });
    });
  }
});
