import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attachmentOf, COMMANDS, commandOf, sandboxOf } from './environment.ts';
import { CNI_CODE, CniError } from './error.ts';

const fails = (text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, String(error));
  assert.equal(error.code, CNI_CODE.invalidEnvironment);
  assert.match(`${error.message}\n${error.details}`, text);
  return true;
};

const FULL = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' };

test('the command must be present and known', () => {
  for (const command of COMMANDS) assert.equal(commandOf({ CNI_COMMAND: command }), command);
  assert.throws(() => commandOf({}), fails(/missing environment: CNI_COMMAND/));
  assert.throws(() => commandOf({ CNI_COMMAND: '' }), fails(/missing environment/));
  assert.throws(() => commandOf({ CNI_COMMAND: 'add' }), fails(/CNI_COMMAND is "add"\n.*one of ADD, DEL/));
});

test('all missing variables are named at once', () => {
  assert.throws(() => sandboxOf({}), fails(/missing environment: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME/));
  assert.throws(() => sandboxOf({ ...FULL, CNI_NETNS: '' }), fails(/missing environment: CNI_NETNS\n/));
  assert.throws(() => attachmentOf({ CNI_IFNAME: 'eth0' }), fails(/missing environment: CNI_CONTAINERID\n/));
});

test('DEL needs no network namespace', () => {
  assert.deepEqual(attachmentOf({ ...FULL, CNI_NETNS: '' }), { containerId: 'c1', ifName: 'eth0' });
  assert.deepEqual(sandboxOf(FULL), { containerId: 'c1', ifName: 'eth0', netns: '/run/netns/x' });
});

test('container ids and interface names are what the specification and the kernel allow', () => {
  for (const id of ['_a', '-a', 'a/b', 'a:b', 'a b', 'ä', '../../etc']) {
    assert.throws(() => attachmentOf({ ...FULL, CNI_CONTAINERID: id }), fails(/CNI_CONTAINERID is/), id);
  }
  for (const name of ['.', '..', 'a/b', 'a:b', 'a b', 'x'.repeat(16), 'ä'.repeat(8)]) {
    assert.throws(() => attachmentOf({ ...FULL, CNI_IFNAME: name }), fails(/CNI_IFNAME is/), name);
  }
  for (const name of ['x'.repeat(15), 'eth0.1', 'ä'.repeat(7)]) attachmentOf({ ...FULL, CNI_IFNAME: name });
  assert.throws(() => sandboxOf({ ...FULL, CNI_NETNS: 'netns/x' }), fails(/CNI_NETNS is "netns\/x"/));
});

test('no accepted name can leave its folder or split a URL path', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (id, name) => {
      try {
        const { containerId, ifName } = attachmentOf({ CNI_CONTAINERID: id, CNI_IFNAME: name });
        assert.ok(!/[/\s:]/.test(containerId + ifName) && containerId !== '..' && ifName !== '..');
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
      }
    }),
  );
});
