/** Probes and those who answer them, in namespaces of their own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, test } from 'node:test';
import { inOwnNetns } from '../../agent/datapath/own-netns.ts';
import { Netns } from '../../agent/kernel/netns.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { NetworkProbes } from '../../agent/health/probes.ts';
import { respondIn, respondOnNode } from '../../agent/health/responder.ts';

const PORT = 4240;

if (inOwnNetns(import.meta.filename)) {
  const ip = (words: string): unknown => execFileSync('ip', words.split(' '));
  ip('link set lo up');
  const netns = Netns.create();
  after(() => netns.close());
  ip(`link add to type veth peer name eth0 netns ${netns.path}`);
  const inside = (words: string): unknown => execFileSync('nsenter', [`--net=${netns.path}`, ...words.split(' ')]);
  for (const [family, here, there] of [
    ['', '192.0.2.1/24', '192.0.2.2/24'],
    ['nodad', '2001:db8::1/64', '2001:db8::2/64'],
  ] as const) {
    ip(`addr add ${here} dev to ${family}`.trim());
    inside(`ip addr add ${there} dev eth0 ${family}`.trim());
  }
  ip('link set to up');
  inside('ip link set eth0 up');
  const probes = new NetworkProbes({ port: PORT, echoes: 2, echoTimeoutMs: 1000, httpTimeoutMs: 5000 });
  after(() => probes[Symbol.dispose]());

  for (const text of ['192.0.2.2', '2001:db8::2']) {
    test(`${text} answers in another namespace`, async () => {
      const address = parseAddress(text);
      assert.ok((await probes.icmp(address)) > 0);
      await assert.rejects(probes.http(address), /ECONNREFUSED/);
      using _responder = await respondIn(netns, address, PORT);
      assert.ok((await probes.http(address)) > 0);
    });
  }

  test('the node answers at all its addresses, and not for long', async () => {
    const responder = await respondOnNode(PORT);
    for (const text of ['127.0.0.1', '192.0.2.1', '2001:db8::1'])
      assert.ok((await probes.http(parseAddress(text))) > 0);
    responder[Symbol.dispose]();
    await assert.rejects(probes.http(parseAddress('127.0.0.1')), /ECONNREFUSED/);
  });

  test('silence has its own words', async () => {
    using hasty = new NetworkProbes({ port: PORT, echoes: 2, echoTimeoutMs: 20, httpTimeoutMs: 20 });
    const nobody = parseAddress('192.0.2.9');
    await assert.rejects(hasty.icmp(nobody), { code: 'HEALTH_PROBE_FAILED', message: /no answer to 2 echoes/ });
    await assert.rejects(hasty.http(nobody), { code: 'HEALTH_PROBE_FAILED', message: /no answer in 20 ms/ });
  });
}
