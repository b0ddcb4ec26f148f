/** One `spec` of a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy. */
import { icmps, nameFields, portDenyRules, portRules } from './port-schema.ts';
import { atLeastOne, choice, exactlyOne, flag, list, map, object, text, type Schema } from './schema.ts';
import { labelSelector, objectName } from './selector-schema.ts';

const ENTITIES = [
  ...['all', 'world', 'world-ipv4', 'world-ipv6', 'cluster', 'cluster-mesh', 'host', 'remote-node', 'kube-apiserver'],
  ...['ingress', 'init', 'health', 'unmanaged', 'none'],
];

const cidrSet = list(
  'Address blocks, or groups of them.',
  object(
    'An address block, or a group of them.',
    {
      cidr: text('An IPv4 or IPv6 prefix with its length.', { format: 'cidr' }),
      cidrGroupRef: objectName('Name of a CiliumCIDRGroup.'),
      cidrGroupSelector: labelSelector('Labels of CiliumCIDRGroups.'),
      except: list('Prefixes inside of the block that are not meant.', text('A prefix.', { format: 'cidr' })),
    },
    exactlyOne('cidr', 'cidrGroupRef', 'cidrGroupSelector'),
  ),
);

const groups = list(
  'Groups of a cloud provider.',
  object('A group of a cloud provider.', {
    aws: object('A group of AWS.', {
      labels: map('Tags of instances.', { type: 'string' }),
      securityGroupsIds: list('Security groups by id.', { type: 'string' }),
      securityGroupsNames: list('Security groups by name.', { type: 'string' }),
      region: text('Region to ask in.'),
    }),
  }),
);

const services = list(
  'Services of Kubernetes, by name or by label.',
  object('Services.', {
    k8sService: object('A service by name.', {
      serviceName: text('Name of the service.'),
      namespace: text('Namespace of the service; any when absent.'),
    }),
    k8sServiceSelector: object(
      'Services by label.',
      {
        selector: labelSelector('Labels of the services.'),
        namespace: text('Namespace of the services; any when absent.'),
      },
      { required: ['selector'] },
    ),
  }),
);

const authentication = object(
  'How peers must prove who they are.',
  { mode: choice('Required mode.', ['disabled', 'required', 'test-always-fail']) },
  { required: ['mode'] },
);

/** Peers of both directions; `side` is from or to. */
function peers(side: 'from' | 'to'): Record<string, Schema> {
  return {
    [`${side}Endpoints`]: list('Pods by label; an empty list selects none.', labelSelector('Labels of pods.')),
    [`${side}Nodes`]: list('Nodes by label.', labelSelector('Labels of nodes.')),
    [`${side}Entities`]: list('Entities.', choice('An entity.', ENTITIES)),
    [`${side}CIDR`]: list('Prefixes or addresses outside of the cluster.', text('A prefix or an address.')),
    [`${side}CIDRSet`]: cidrSet,
    [`${side}Groups`]: groups,
  };
}

const ALLOWED = { toPorts: portRules, icmps, authentication };
const DENIED = { toPorts: portDenyRules, icmps };

const ingress = object('Whom to admit.', {
  ...peers('from'),
  fromFQDNs: list(
    'Names of the world, whose addresses the node asks for by itself.',
    object('A name.', { matchName: text('One name.') }, { required: ['matchName'] }),
  ),
  ...ALLOWED,
});
const ingressDeny = object('Whom to refuse.', { ...peers('from'), ...DENIED });
const egressDeny = object('Where not to go.', { ...peers('to'), toServices: services, ...DENIED });
const egress = object('Where to go.', {
  ...peers('to'),
  toServices: services,
  toFQDNs: list(
    'Names of the world.',
    object('A name or a pattern.', nameFields, exactlyOne('matchName', 'matchPattern')),
  ),
  ...ALLOWED,
});

const labels = list(
  'Labels of the rule itself, for those who ask for it later.',
  object('A label.', { key: text('Key.'), value: text('Value.'), source: text('Source.') }, { required: ['key'] }),
);

export function ruleSchema(description: string): Schema {
  return object(
    description,
    {
      endpointSelector: labelSelector('The pods that the rule is about; {} is every pod.'),
      nodeSelector: labelSelector('The nodes that the rule is about: clusterwide policies only.'),
      ingress: list('What may come in.', ingress),
      ingressDeny: list('What may not come in, whatever else allows it.', ingressDeny),
      egress: list('What may go out.', egress),
      egressDeny: list('What may not go out, whatever else allows it.', egressDeny),
      enableDefaultDeny: object('Whether what no rule allows is denied from now on.', {
        ingress: flag('For ingress; by default when the rule has an ingress section.'),
        egress: flag('For egress; by default when the rule has an egress section.'),
      }),
      labels,
      description: text('For people.'),
      log: object('What the log of policy decisions says.', { value: text('Text of the log entry.') }),
    },
    {
      ...exactlyOne('endpointSelector', 'nodeSelector'),
      ...atLeastOne('ingress', 'ingressDeny', 'egress', 'egressDeny'),
    },
  );
}
