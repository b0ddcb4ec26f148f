import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { ApiRefusal, type ApiRequest, type ApiServer, type JsonObject } from '../k8s/apiserver/client.ts';
import { formatCidr } from '../model/address.ts';
import { systemClock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { awaitPodCidrs } from './pod-cidrs.ts';

/** An API server that knows one object. */
class OneObject implements ApiServer {
  object: JsonObject | undefined;
  away = false;
  readonly calls: string[] = [];
  /** Called with every request before it is answered. */
  onCall: (call: string) => void = () => undefined;

  request({ method, path, body }: ApiRequest): Promise<JsonObject> {
    this.calls.push(`${method} ${path}`);
    this.onCall(this.calls.at(-1)!);
    if (this.away) return Promise.reject(new WeirError('KUBERNETES_UNREACHABLE', 'nobody there'));
    if (method === 'POST') this.object = body as JsonObject;
    return this.object === undefined ? Promise.reject(new ApiRefusal(path, 404, {})) : Promise.resolve(this.object);
  }

  watch(): never {
    throw new Error('nobody watches here');
  }
}

describe('prefixes of pods from the cluster', () => {
  let stateDir: string;
  before(() => (stateDir = mkdtempSync(join(tmpdir(), 'weir-cidrs-'))));
  after(() => rmSync(stateDir, { recursive: true, force: true }));
  const wait = async (
    server: ApiServer,
    ipam: 'kubernetes' | 'cluster-pool',
    signal = new AbortController().signal,
  ) => {
    const logger = pino({ level: 'silent' });
    const cidrs = await awaitPodCidrs(
      { nodeName: 'n1', ipam, stateDir },
      { server, clock: systemClock, logger, signal },
    );
    return Object.values(cidrs).map(formatCidr);
  };

  test('stand in the Node', async () => {
    const server = new OneObject();
    server.onCall = () => {
      // Not at once: some controller gives them.
      const spec = server.calls.length < 3 ? {} : { podCIDRs: ['10.1.0.0/24', 'fd00:1::/64'] };
      server.object = { metadata: { name: 'n1' }, spec };
    };
    assert.deepEqual(await wait(server, 'kubernetes'), ['10.1.0.0/24', 'fd00:1::/64']);
    assert.equal(server.calls[0], 'GET /api/v1/nodes/n1');
  });

  test('of the last run count while nobody answers', async () => {
    const server = new OneObject();
    server.away = true;
    assert.deepEqual(await wait(server, 'kubernetes'), ['10.1.0.0/24', 'fd00:1::/64']);
  });

  test('come from the operator to a node that announces itself', async () => {
    const server = new OneObject();
    server.onCall = (call) => {
      if (server.object !== undefined && call.startsWith('GET'))
        server.object = { ...server.object, spec: { ipam: { podCIDRs: ['10.2.0.0/24'] } } };
    };
    assert.deepEqual(await wait(server, 'cluster-pool'), ['10.2.0.0/24']);
    assert.deepEqual(server.calls, [
      'GET /apis/cilium.io/v2/ciliumnodes/n1',
      'POST /apis/cilium.io/v2/ciliumnodes',
      'GET /apis/cilium.io/v2/ciliumnodes/n1',
    ]);
  });

  test('that never come are not waited for after the signal', async () => {
    const stop = new AbortController();
    const server = new OneObject();
    server.onCall = () => stop.abort();
    await assert.rejects(wait(server, 'kubernetes', stop.signal), { code: 'SOURCE_STOPPED' });
  });
});
