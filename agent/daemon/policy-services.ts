import type { EndpointSlice } from '../k8s/endpoint-slice.ts';
import { policyService } from '../k8s/policy-view.ts';
import type { Service } from '../k8s/service.ts';
import type { PolicyService } from '../policy/contract.ts';

type OnService = (namespace: string, name: string, service: PolicyService | undefined) => void;

/** Joins services with their slices, in whatever order they come, for `toServices` (S24). */
export class PolicyServices {
  readonly #onService: OnService;
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, EndpointSlice>();

  constructor(onService: OnService) {
    this.#onService = onService;
  }

  setService(namespace: string, name: string, service: Service | undefined): void {
    put(this.#services, `${namespace}/${name}`, service);
    this.#tell(namespace, name);
  }

  /** @param slice undefined also when it belongs to no service */
  setSlice(namespace: string, name: string, slice: EndpointSlice | undefined): void {
    const key = `${namespace}/${name}`;
    const before = this.#slices.get(key);
    put(this.#slices, key, slice);
    const concerned = [before?.service, slice?.service].filter((service) => service !== undefined);
    for (const service of new Set(concerned)) this.#tell(namespace, service);
  }

  #tell(namespace: string, name: string): void {
    const service = this.#services.get(`${namespace}/${name}`);
    this.#onService(namespace, name, service && policyService(service, this.#slices.values()));
  }
}

function put<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
