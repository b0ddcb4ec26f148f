/** What a cluster's admission and allocators do to objects as they are written. */
import { CRD_GROUP, defaultDefinition, definitionViolations, withDefinitionStatus } from './custom-types.ts';
import { isObject, listAt, textAt, type KubeObject } from './object.ts';
import type { Registry, ResourceType } from './resource-type.ts';
import { requireNamespace, type Hooks, type WriteOptions } from './rest.ts';
import { invalid } from './status.ts';
import type { Store } from './store.ts';

export class Admission implements Hooks {
  readonly #store: Store;
  readonly #registry: Registry;
  #nextAddress = 10;
  #nextPort = 30_000;

  constructor(store: Store, registry: Registry) {
    this.#store = store;
    this.#registry = registry;
  }

  readonly admit = (
    type: ResourceType,
    object: KubeObject,
    old: KubeObject | undefined,
    _options: WriteOptions,
  ): void => {
    if (old === undefined) requireNamespace(type, this.#store, object);
    if (type.group === '' && type.kind === 'Service') this.#service(object, old);
    if (type.group === CRD_GROUP) this.#definition(type, object, old);
  };

  #definition(type: ResourceType, object: KubeObject, old: KubeObject | undefined): void {
    defaultDefinition(object);
    const found = definitionViolations(object, old);
    if (found.length > 0) throw invalid(type, object.metadata.name, found);
    object['status'] = withDefinitionStatus(object, this.#registry)['status'];
  }

  /** Gives a service its addresses and node ports. */
  #service(object: KubeObject, old: KubeObject | undefined): void {
    const spec = object['spec'];
    if (!isObject(spec) || spec['type'] === 'ExternalName') return;
    spec['clusterIP'] ??= textAt(old, 'spec', 'clusterIP') || (listAt(spec, 'clusterIPs')[0] ?? this.#address());
    if (spec['clusterIP'] === '') spec['clusterIP'] = this.#address();
    spec['clusterIPs'] ??= [spec['clusterIP']];
    const families = listAt(spec, 'clusterIPs').map((address) => (String(address).includes(':') ? 'IPv6' : 'IPv4'));
    spec['ipFamilies'] ??= families;
    spec['ipFamilyPolicy'] ??= families.length > 1 ? 'RequireDualStack' : 'SingleStack';
    if (!['NodePort', 'LoadBalancer'].includes(String(spec['type']))) return;
    for (const port of listAt(spec, 'ports')) if (isObject(port)) port['nodePort'] ??= this.#nextPort++;
  }

  #address(): string {
    const taken = new Set(
      [...this.#store.collection('/services').values()].map((service) => textAt(service, 'spec', 'clusterIP')),
    );
    for (;;) {
      const n = this.#nextAddress++;
      const address = `10.${96 + ((n >> 16) & 15)}.${(n >> 8) & 255}.${n & 255}`;
      if (!taken.has(address)) return address;
    }
  }
}
