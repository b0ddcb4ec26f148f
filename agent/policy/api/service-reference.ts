import type { PeerSelector } from '../rule.ts';
import { list, object, string, then, type Decoder } from './decode.ts';
import { endpointSelector } from './endpoint-selector.ts';
import { finishSelector } from './label-selector.ts';

const serviceReference = object({
  k8sService: object({ serviceName: string, namespace: string }),
  k8sServiceSelector: object({ selector: endpointSelector, namespace: string }),
});

/** `toServices`: by name or by label; an empty namespace is any (S24). */
export const servicePeers: Decoder<readonly PeerSelector[]> = list(
  then(serviceReference, ({ k8sService, k8sServiceSelector }, reading) => {
    if ((k8sService === undefined) === (k8sServiceSelector === undefined)) {
      reading.schemaIssue('exactly one of k8sService and k8sServiceSelector is needed', { remedy: 'give one of them' });
    }
    if (k8sService !== undefined) {
      const { serviceName: name = '', namespace = '' } = k8sService;
      if (name === '')
        reading.schemaIssue('the service has no name', { under: ['k8sService'], remedy: 'set serviceName' });
      return { kind: 'service' as const, service: { namespace, name } };
    }
    const { selector, namespace = '' } = k8sServiceSelector ?? {};
    const labels = selector === undefined ? { requirements: [] } : finishSelector(selector);
    return { kind: 'service' as const, service: { namespace, selector: labels } };
  }),
);
