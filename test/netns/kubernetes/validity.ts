/** What kubectl shows of a cluster, and what becomes of a policy that is wrong: the version before it stays enforced. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Traffic } from '../../harness/traffic.ts';
import { waitFor } from '../../harness/wait.ts';
import { flowsOf, POLICIES, serverPolicy, whenAdmitting, type Scene } from './scene.ts';

/** What the schema lets pass and the decoder does not: peers of two kinds in one rule. */
const contradictory = { fromEntities: ['host'], fromCIDR: ['10.0.0.0/8'] };

export async function validity(t: TestContext, scene: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { cluster, server, members } = scene;
  const { server: api } = cluster;
  const kubectl = async (words: string, input?: object): Promise<string> => {
    const { stdout, stderr, status } = await cluster.kubectl(words, input && JSON.stringify(input));
    assert.equal(status, 0, `kubectl ${words}: ${stderr}`);
    return stdout;
  };
  const policy = (ingress: object) => ({
    ...serverPolicy(),
    spec: { ...serverPolicy().spec, ingress: [ingress] },
  });
  const [ingress] = serverPolicy().spec.ingress;

  await t.test('kubectl get shows what is there, under Cilium’s columns and short names', async () => {
    await kubectl('apply -f -', {
      ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata: { name: 'dns' } },
      spec: { endpointSelector: { matchLabels: { app: 'nobody' } }, egress: [{ toEntities: ['world'] }] },
    });
    await kubectl('wait cnp/server ccnp/dns --for=condition=Valid --timeout=60s');
    await waitFor('enforcement to be announced', async () =>
      /server .* enforcing +non-enforcing/.test(await kubectl('get cep server -o wide --no-headers')),
    );
    const shown = await kubectl('get cnp,ccnp,cep,ciliumid,cn');
    for (const row of [
      /NAME +AGE +VALID\nciliumnetworkpolicy.cilium.io\/server +\S+ +True/,
      /NAME +AGE +VALID\nciliumclusterwidenetworkpolicy.cilium.io\/dns +\S+ +True/,
      /NAME +SECURITY IDENTITY +ENDPOINT STATE +IPV4 +IPV6\n/,
      new RegExp(`ciliumendpoint.cilium.io/server +\\d+ +ready +${server.ipv4} +${server.ipv6}`),
      ...(!scene.mode.kvstore ? [/NAME +NAMESPACE +AGE\nciliumidentity.cilium.io\/\d+ +default/] : []),
      new RegExp(`NAME +CILIUMINTERNALIP +INTERNALIP +AGE\nciliumnode.cilium.io/node1 +\\S+ +${members[0].ipv4}`),
    ])
      assert.match(shown, row);
    assert.match(
      await kubectl('get ciliumnp,ciliumep,ciliumn'),
      /ciliumnetworkpolicy[\s\S]+ciliumendpoint[\s\S]+ciliumnode/,
    );
  });

  await t.test('what the schema knows to be wrong is refused at creation', async () => {
    const { stderr, status } = await cluster.kubectl('apply -f -', JSON.stringify(policy({ fromEntities: ['wrold'] })));
    assert.notEqual(status, 0);
    assert.match(stderr, /spec\.ingress\[0\]\.fromEntities\[0\]: Unsupported value: "wrold"/);
  });

  const flows = flowsOf(scene);
  const traffic = stack.use(await Traffic.start(flows));

  await t.test('what only the operator sees is marked, and the version before it stays enforced', async () => {
    await traffic.more();
    await kubectl('apply -f -', policy(contradictory));
    await kubectl('wait cnp/server --for=condition=Valid=False --timeout=60s');
    assert.match(await kubectl('get cnp server --no-headers'), /False/);
    const described = await kubectl('describe cnp server');
    assert.match(described, /Message: +spec\.ingress\[0\].*cannot stand in one rule/);
    await waitFor('the event', async () =>
      /Warning +PolicyInvalid .*weir-operator +spec\.ingress\[0\]/.test(await kubectl('describe cnp server')),
    );
    for (const { node } of members)
      await waitFor(`${node.name} to say so`, async () =>
        /rejected: .*default\/server/.test((await node.weir('status')).stdout),
      );
    const events = (await api.list('/api/v1/namespaces/default/events')) as { involvedObject: { name: string } }[];
    assert.equal(events.filter(({ involvedObject }) => involvedObject.name === 'server').length, 1, 'one tells of it');
    await traffic.more();
  });

  await t.test('an agent that starts anew with a wrong policy lets nobody in that was not', async () => {
    await members[0].node.stopAgent('SIGKILL');
    await members[0].node.startAgent();
    await traffic.more();
  });

  await t.test('the next right version is enforced', async () => {
    await traffic.turn(whenAdmitting('stranger', flows), () =>
      api.merge(`${POLICIES}/server`, { spec: serverPolicy('stranger').spec }),
    );
    await kubectl('wait cnp/server --for=condition=Valid --timeout=60s');
    await traffic.turn(whenAdmitting('client', flows), () => kubectl('apply -f -', policy(ingress!)));
    await traffic.more();
  });

  await traffic.ended();
  const { probes, judged, wrong } = await traffic.report();
  t.diagnostic(`${probes} probes, ${judged} judged`);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} wrong verdicts`);
}
