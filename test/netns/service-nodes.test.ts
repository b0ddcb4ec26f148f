/** Node ports across nodes: of a node whose backends are on another, and of a node that a pod of another asks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { Cluster } from '../harness/cluster.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { backendOf, serviceManifest } from '../harness/service.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

const NODE_PORT = 30080;

const MODES: readonly { readonly name: string; readonly flags: readonly string[] }[] = [
  { name: 'tunnel', flags: ['--routing-mode', 'tunnel'] },
  { name: 'native', flags: ['--routing-mode', 'native', '--auto-direct-node-routes'] },
];

for (const { name, flags } of MODES) {
  test(`a backend on another node, ${name}`, { timeout: 600_000 }, async (t) => {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(await Cluster.start({ nodes: 2, flags }));
    const [one, two] = cluster.members as [(typeof cluster.members)[0], (typeof cluster.members)[0]];
    cluster.manifest('server.yaml', podManifest('server', { app: 'server' }));
    const server = stack.use(await Pod.create(two.node, 'server'));
    const world = stack.use(await Actor.start(cluster.world));
    await server.actor.do({ op: 'serve-name', port: 8080, name: 'server' });
    await cluster.publish();
    const spec = { type: 'NodePort', clusterIPs: ['10.96.0.10', 'fd00:96::10'] };
    const service = { name: 'web', port: 80, targetPort: 8080, nodePort: NODE_PORT, spec };
    cluster.manifest('web.yaml', serviceManifest({ ...service, backends: [backendOf(server)] }));
    const ask = (transport: 'tcp' | 'udp', host: string, socket?: string): Promise<string> =>
      world.do({
        op: 'ask',
        transport,
        host,
        port: NODE_PORT,
        timeoutMs: ANSWER_MS,
        ...(socket !== undefined && { socket }),
      });
    await waitFor('the service', async () => (await ask('tcp', one.ipv4)).startsWith('server '));
    for (const [family, asked, i] of [
      ['IPv4', one.ipv4, 0],
      ['IPv6', one.ipv6, 1],
    ] as const) {
      // The backend sees the node that was asked, by its address on the way there.
      const seen = name === 'tunnel' ? one.routers[i] : asked;
      const believed = family === 'IPv4' ? `${asked}:${NODE_PORT}` : `[${asked}]:${NODE_PORT}`;
      for (const transport of ['tcp', 'udp'] as const) {
        await t.test(`${transport} over ${family}`, async () => {
          for (let n = 0; n < 5; n++) assert.equal(await ask(transport, asked), `server ${seen} ${believed}`);
        });
      }
      await t.test(`a socket that goes on keeps its way, ${family}`, async () => {
        for (let n = 0; n < 5; n++) assert.equal(await ask('udp', asked, family), `server ${seen} ${believed}`);
      });
      await t.test(`the backend's own node, ${family}`, async () => {
        assert.match(await ask('tcp', family === 'IPv4' ? two.ipv4 : two.ipv6), /^server /);
      });
    }
  });
}

/** What pods and hosts ask another node for is translated where they ask, and need not go there. */
for (const { name, flags } of MODES) {
  test(`asking another node, ${name}`, { timeout: 600_000 }, async (t) => {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(await Cluster.start({ nodes: 2, flags, socketLb: true }));
    const [one, two] = cluster.members as [(typeof cluster.members)[0], (typeof cluster.members)[0]];
    for (const app of ['client', 'server']) cluster.manifest(`${app}.yaml`, podManifest(app, { app }));
    const client = stack.use(await Pod.create(one.node, 'client'));
    const server = stack.use(await Pod.create(one.node, 'server'));
    await server.actor.do({ op: 'serve-name', port: 8080, name: 'server' });
    const askers = [
      { title: 'a pod, by its sockets', actor: client.actor, transports: ['tcp', 'udp', 'udp-connected'] },
      { title: 'a pod, by packet', actor: stack.use(await Actor.start(client.ns)), transports: ['tcp', 'udp'] },
    ] as const;
    const host = stack.use(await Actor.start(one.node.ns, one.node.cgroup));
    await cluster.publish();
    for (const externalTrafficPolicy of ['Cluster', 'Local']) {
      const spec = { type: 'NodePort', clusterIPs: ['10.96.0.10', 'fd00:96::10'], externalTrafficPolicy };
      const service = { name: 'web', port: 80, targetPort: 8080, nodePort: NODE_PORT, spec };
      cluster.manifest('web.yaml', serviceManifest({ ...service, backends: [backendOf(server)] }));
      await waitFor('the service', async () => {
        const { stdout } = await one.node.weir('service', 'list', '-o', 'json');
        return stdout.includes(`"extTrafficPolicy": "${externalTrafficPolicy}"`);
      });
      for (const [asked, own, believed] of [
        [two.ipv4, client.ipv4, `${two.ipv4}:${NODE_PORT}`],
        [two.ipv6, client.ipv6, `[${two.ipv6}]:${NODE_PORT}`],
      ] as const) {
        const question = { op: 'ask', host: asked, port: NODE_PORT, timeoutMs: ANSWER_MS } as const;
        for (const { title, actor, transports } of askers) {
          await t.test(`${title}: ${asked}, externalTrafficPolicy ${externalTrafficPolicy}`, async () => {
            for (const transport of transports) {
              assert.equal(await actor.do({ ...question, transport }), `server ${own} ${believed}`, transport);
            }
          });
        }
        await t.test(`the host: ${asked}, externalTrafficPolicy ${externalTrafficPolicy}`, async () => {
          assert.match(await host.do({ ...question, transport: 'tcp' }), /^server /);
        });
      }
    }
  });
}
