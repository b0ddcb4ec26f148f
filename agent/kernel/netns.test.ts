import assert from 'node:assert/strict';
import { readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { createNetns, deleteNetns, inNetns, Netns } from './netns.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';
import { testNetns, uniqueName } from './testbed.ts';

const here = (): string => readlinkSync('/proc/thread-self/ns/net');

test('a call runs inside the namespace and comes back, also when it throws', () => {
  using ns = testNetns();
  const home = here();
  assert.equal(inNetns(ns.fd, here), `net:[${ns.inode}]`);
  assert.equal(here(), home);
  const fail = (): never => {
    throw new Error('on purpose');
  };
  assert.throws(() => ns.run(fail), /on purpose/);
  assert.equal(here(), home);
  assert.throws(() => ns.run(() => Promise.resolve()), /must not wait/);
  assert.equal(here(), home);
});

test('what is no network namespace is not found, by path', () => {
  for (const path of ['/run/netns/weir-no-such', '/etc/hostname/x', '/etc/hostname', '/proc/self/ns/mnt']) {
    assert.throws(() => Netns.open(path), { code: 'NETNS_NOT_FOUND', object: path });
  }
  assert.throws(() => inNetns(-1, here), { code: 'SYSCALL_FAILED', errno: 9 });
});

test('named namespaces are made and deleted; deleting twice is fine', () => {
  const name = uniqueName('weir-test');
  const home = here();
  const path = createNetns(name);
  try {
    using ns = Netns.open(path);
    assert.equal(here(), home);
    assert.notEqual(`net:[${ns.inode}]`, home);
    assert.throws(() => createNetns(name), /EEXIST/);
  } finally {
    deleteNetns(name);
  }
  deleteNetns(name);
  assert.throws(() => Netns.open(path), { code: 'NETNS_NOT_FOUND' });
  assert(!readFileSync('/proc/self/mountinfo', 'utf8').includes(name));
});

test('sysctls are those of the namespace', () => {
  using one = testNetns();
  using two = testNetns();
  assert.equal(writeSysctl('ipv4/ip_forward', 1, one), true);
  assert.equal(writeSysctl('ipv4/ip_forward', 1, one), false);
  assert.equal(readSysctl('ipv4/ip_forward', one), '1');
  assert.equal(readSysctl('ipv4/ip_forward', two), '0');
  assert.throws(() => readSysctl('ipv4/no_such', one), {
    code: 'SYSCALL_FAILED',
    message: 'read sysctl net/ipv4/no_such: ENOENT',
  });
  assert.throws(() => writeSysctl('ipv4/ip_forward', 'maybe', one), { errno: 22 });
});
