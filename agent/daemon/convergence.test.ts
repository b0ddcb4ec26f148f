/** Whatever an agent hears of its API server, and however: it ends where one ends that hears only the outcome. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Mirror } from '../k8s/apiserver/mirror.ts';
import { preferredApiVersion } from '../k8s/kinds.ts';
import { systemClock, type Clock } from '../model/clock.ts';
import type { ResourceEvent, ResourceKind, ResourceSource } from '../model/resource.ts';
import { AgentBench } from './testing.ts';

const KINDS = [
  'Namespace',
  'CiliumIdentity',
  'Pod',
  'CiliumEndpoint',
  'CiliumNetworkPolicy',
  'CiliumCIDRGroup',
] as const;
type Kind = (typeof KINDS)[number] & ResourceKind;

const PODS = ['web', 'db'] as const;
const NAMESPACED: ReadonlySet<Kind> = new Set(['Pod', 'CiliumEndpoint', 'CiliumNetworkPolicy']);

/** Names of each kind, and what an object of the name is like in one of its variants. */
const OBJECTS: Readonly<
  Record<Kind, { readonly names: readonly string[]; readonly make: (name: string, v: number) => object }>
> = {
  Namespace: { names: ['default'], make: (_, v) => ({ metadata: { labels: { team: `t${v}` } } }) },
  Pod: {
    names: PODS,
    make: (name, v) => ({
      metadata: { labels: { app: name, tier: `t${v}` } },
      spec: { nodeName: 'n1', containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8000 + v }] }] },
    }),
  },
  CiliumIdentity: {
    names: ['4000', '4001'],
    make: (name, v) => ({
      'security-labels': { 'k8s:app': `far${name}`, 'k8s:zone': `z${v}`, 'k8s:io.kubernetes.pod.namespace': 'default' },
    }),
  },
  CiliumEndpoint: {
    names: ['far-1', 'far-2'],
    make: (name, v) => ({
      status: {
        identity: { id: 4000 + (v % 2) },
        networking: { addressing: [{ ipv4: `10.0.9.${name.slice(-1)}` }], node: '198.51.100.2' },
      },
    }),
  },
  CiliumNetworkPolicy: {
    names: ['one', 'two'],
    make: (name, v) => ({
      spec: {
        endpointSelector: { matchLabels: { app: name === 'one' ? 'web' : 'db' } },
        ingress: [
          [{ fromEndpoints: [{ matchLabels: { zone: 'z1' } }] }],
          [{ fromEndpoints: [{ matchLabels: { app: 'far4000' } }], toPorts: [{ ports: [{ port: 'http' }] }] }],
          [{ fromCIDRSet: [{ cidrGroupRef: 'group' }] }],
          [{ fromEndpoints: [{ matchLabels: { app: 'web', tier: 't1' } }] }],
        ][v % 4],
      },
    }),
  },
  CiliumCIDRGroup: {
    names: ['group'],
    make: (_, v) => ({ spec: { externalCIDRs: [`192.0.2.${v}/32`, '203.0.113.0/24'] } }),
  },
};

/** What an agent puts off, such as to forget an identity that nobody has any more, comes in a tenth of a second. */
const hurried: Clock = { now: () => systemClock.now(), after: (ms, fn) => systemClock.after(ms / 600, fn) };

interface Versioned {
  readonly metadata: { readonly name: string; readonly resourceVersion: string; readonly [field: string]: unknown };
}

/** A source that says what the test lets it hear. */
class HeardSource implements ResourceSource {
  readonly #mirrors: ReadonlyMap<Kind, Mirror>;
  #onEvent: (event: ResourceEvent) => void = () => undefined;
  begin: () => void = () => undefined;

  constructor() {
    const onEvent = (event: ResourceEvent): void => this.#onEvent(event);
    this.#mirrors = new Map(KINDS.map((kind) => [kind, new Mirror({ kind, onEvent })]));
  }

  start(onEvent: (event: ResourceEvent) => void): Promise<void> {
    this.#onEvent = onEvent;
    this.begin();
    onEvent({ type: 'synced' });
    return Promise.resolve();
  }

  report = (): void => undefined;
  stop = (): Promise<void> => Promise.resolve();

  hear(kind: Kind, type: 'ADDED' | 'MODIFIED' | 'DELETED', object: object): void {
    this.#mirrors.get(kind)!.event(type, object, preferredApiVersion(kind));
  }

  list(kind: Kind, objects: readonly object[], version: number, whole = true): void {
    const list = this.#mirrors.get(kind)!.list(preferredApiVersion(kind));
    for (const object of objects) list.add(object);
    if (whole) list.finish(String(version));
  }
}

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      kind: fc.constantFrom(...KINDS),
      which: fc.nat(1),
      variant: fc.nat(3),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('delete' as const), kind: fc.constantFrom(...KINDS), which: fc.nat(1) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('hear' as const), back: fc.nat(6) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('list' as const, 'half a list' as const),
      kind: fc.constantFrom(...KINDS),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
);

/** What a server holds, and all that ever happened there. */
class History {
  readonly truth = new Map<Kind, Map<string, Versioned>>(KINDS.map((kind) => [kind, new Map()]));
  readonly events: { kind: Kind; type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: Versioned }[] = [];
  version = 1;

  write(kind: Kind, which: number, variant: number): void {
    const { names, make } = OBJECTS[kind];
    const name = names[which % names.length]!;
    const made = make(name, variant) as { metadata?: object };
    const namespace = NAMESPACED.has(kind) ? { namespace: 'default' } : {};
    const metadata = { ...made.metadata, ...namespace, name, uid: name, resourceVersion: String(++this.version) };
    const object = { ...made, metadata };
    const objects = this.truth.get(kind)!;
    this.events.push({ kind, type: objects.has(name) ? 'MODIFIED' : 'ADDED', object });
    objects.set(name, object);
  }

  delete(kind: Kind, which: number): void {
    const { names } = OBJECTS[kind];
    const objects = this.truth.get(kind)!;
    const object = objects.get(names[which % names.length]!);
    if (object === undefined) return;
    objects.delete(object.metadata.name);
    const metadata = { ...object.metadata, resourceVersion: String(++this.version) };
    this.events.push({ kind, type: 'DELETED', object: { ...object, metadata } });
  }

  tell(source: HeardSource, kind: Kind, whole = true): void {
    const objects = [...this.truth.get(kind)!.values()];
    source.list(kind, whole ? objects : objects.slice(1), this.version, whole);
  }
}

/** Endpoints, ipcache and policy maps in words: numbers that an agent chose for itself are replaced by their labels. */
async function picture({ api, kernel }: AgentBench): Promise<readonly string[]> {
  const labels = new Map(
    (await api.identities()).map(({ id, labels = [] }) => [id ?? 0, [...labels].sort().join(' ')]),
  );
  const named = (id: number): string => labels.get(id) ?? (id === 0 ? 'any' : `unknown ${id}`);
  const names = new Map(
    (await api.endpoints()).map(({ id, status }) => [id, status?.['external-identifiers']?.['k8s-pod-name']]),
  );
  const lines: string[] = [];
  for (const [prefix, { identity }] of kernel.ipcacheMap) {
    if (prefix.startsWith('10.0.') || prefix.startsWith('192.') || prefix.startsWith('203.'))
      lines.push(`${prefix} is ${named(identity)}`);
  }
  for (const [id, { program, policy }] of kernel.endpoints.installed) {
    lines.push(`${names.get(id)} is ${named(program.identity)}`);
    for (const [key, { cookie: _, ...entry }] of policy) {
      const [direction, identity, ...rest] = key.split('/');
      lines.push(`${names.get(id)} ${direction} ${named(Number(identity))} ${rest.join('/')} ${JSON.stringify(entry)}`);
    }
  }
  return lines.sort();
}

test('an agent ends where one ends that hears only the outcome: endpoints, ipcache, policy maps', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
      const history = new History();
      await using troubled = new AgentBench();
      const source = new HeardSource();
      await troubled.start({ source, clock: hurried });
      for (const pod of PODS) await troubled.add(pod);
      for (const each of steps) {
        if (each.do === 'write') history.write(each.kind, each.which, each.variant);
        else if (each.do === 'delete') history.delete(each.kind, each.which);
        else if (each.do === 'hear') {
          const event = history.events.at(-1 - each.back);
          if (event !== undefined) source.hear(event.kind, event.type, event.object);
        } else if (each.do === 'wait') await new Promise((resolve) => setTimeout(resolve, 2));
        else history.tell(source, each.kind, each.do === 'list');
      }
      // A pod keeps the labels that it last had; one that is gone has none to compare.
      for (const which of [0, 1]) history.write('Pod', which, which);
      for (const kind of KINDS) history.tell(source, kind);

      await using fresh = new AgentBench();
      const outcome = new HeardSource();
      outcome.begin = () => KINDS.forEach((kind) => history.tell(outcome, kind));
      await fresh.start({ source: outcome });
      for (const pod of PODS) await fresh.add(pod);
      let [seen, expected]: (readonly string[])[] = [[], []];
      const deadline = Date.now() + 60_000;
      while (Date.now() < deadline) {
        [seen, expected] = [await picture(troubled), await picture(fresh)];
        if (seen.join('\n') === expected.join('\n') && seen.length > 0) return;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.deepEqual(seen, expected);
    }),
    { numRuns: 25, endOnFailure: true },
  );
});
