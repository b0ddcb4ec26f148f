import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { IfIndex } from '../model/endpoint.ts';
import { programInfo } from './bpf-info.ts';
import { BpfObject } from './bpf-object.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { createVeth, deleteLink } from './rtnl-link.ts';
import { compileBpf, pinFolder, testNetns } from './testbed.ts';
import { attachTcx, type CreateTcxLink, detachTcx, TcxLink, tcxProgram } from './tcx.ts';

const PASS = compileBpf(`
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
SEC("tc") int one(struct __sk_buff *skb) { return 0; }
SEC("tc") int two(struct __sk_buff *skb) { return 0; }
`);

interface Bench extends Disposable {
  readonly ifindex: IfIndex;
  readonly one: number;
  readonly two: number;
  readonly pin: string;
  /** Attaches inside the namespace of the bench. */
  readonly create: CreateTcxLink;
  readonly rt: Rtnetlink;
}

function bench(): Bench {
  const stack = new DisposableStack();
  const ns = stack.use(testNetns());
  const rt = stack.use(Rtnetlink.open(ns));
  rt.apply(createVeth({ name: 'a', mtu: 1500, peer: { name: 'b' } }));
  const object = stack.use(BpfObject.load({ name: 'pass', elf: PASS }));
  const pins = stack.use(pinFolder());
  return {
    ifindex: rt.link('a')!.index,
    one: object.program('one').fd,
    two: object.program('two').fd,
    pin: pins.at('link'),
    create: (...args) => ns.run(() => TcxLink.createSync(...args)),
    rt,
    [Symbol.dispose]: () => stack.dispose(),
  };
}

test('a program is attached, pinned, replaced through the pin, and found there again', async () => {
  using b = bench();
  const where = { ifindex: b.ifindex, hook: 'ingress', pin: b.pin } as const;
  assert.equal(await tcxProgram(b.pin, b.ifindex), undefined);
  assert.equal(await attachTcx(b.one, where, b.create), 'attached');
  assert.equal(await tcxProgram(b.pin, b.ifindex), programInfo(b.one).id);
  assert.equal(await attachTcx(b.one, where, b.create), 'unchanged');
  assert.equal(await attachTcx(b.two, where, b.create), 'updated');
  assert.equal(await tcxProgram(b.pin, b.ifindex), programInfo(b.two).id);
  assert.equal(await tcxProgram(b.pin, 1), undefined);
  assert.equal(await detachTcx(b.pin), true);
  assert.equal(await detachTcx(b.pin), false);
  assert(!existsSync(b.pin));
});

test('a pin of another hook gives way to a new link', async () => {
  using b = bench();
  const { ifindex, pin } = b;
  await attachTcx(b.one, { ifindex, hook: 'ingress', pin }, b.create);
  assert.equal(await attachTcx(b.one, { ifindex, hook: 'egress', pin }, b.create), 'attached');
  using link = TcxLink.openPinned(pin)!;
  assert.equal((await link.info()).attachType, 47);
  assert.equal(await attachTcx(b.one, { ifindex, hook: 'egress', pin }, b.create), 'unchanged');
});

test('a pin whose device is gone is replaced, and removed without fuss', async () => {
  using b = bench();
  const where = { ifindex: b.ifindex, hook: 'ingress', pin: b.pin } as const;
  await attachTcx(b.one, where, b.create);
  b.rt.apply(deleteLink('a'), createVeth({ name: 'a', mtu: 1500, peer: { name: 'b' } }));
  assert.equal(await tcxProgram(b.pin, b.ifindex), undefined);
  using stale = TcxLink.openPinned(b.pin)!;
  await assert.rejects(stale.update(b.two), { errno: 67 }, 'ENOLINK');
  const next = { ...where, ifindex: b.rt.link('a')!.index };
  assert.equal(await attachTcx(b.one, next, b.create), 'attached');
  b.rt.apply(deleteLink('a'));
  assert.equal(await detachTcx(b.pin), true);
});

test('a link that cannot be pinned is taken off again', async () => {
  using b = bench();
  const where = { ifindex: b.ifindex, hook: 'ingress', pin: '/proc/nowhere' } as const;
  await assert.rejects(attachTcx(b.one, where, b.create), { code: 'SYSCALL_FAILED' });
  // Links of one hook are told apart by their program: the same one twice would be EEXIST.
  assert.equal(await attachTcx(b.one, { ...where, pin: b.pin }, b.create), 'attached');
});

test('asynchronous attachment reports the errno of its worker thread', async () => {
  using b = bench();
  await assert.rejects(TcxLink.create(b.one, 0x7fffffff, 'ingress'), {
    code: 'SYSCALL_FAILED',
    errno: 19,
    message: 'attach a BPF program to interface 2147483647: ENODEV',
  });
});
