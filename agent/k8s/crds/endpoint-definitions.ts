/** CiliumEndpoint, which each agent keeps for its pods, and CiliumEndpointSlice, in which the operator batches them. */
import { AGE, kindSchema, type Definition, type PrinterColumn } from './definition.ts';
import { choice, flag, integer, list, long, map, object, text, type Schema } from './schema.ts';

const addressPair = object('An address of each family.', { ipv4: text('IPv4 address.'), ipv6: text('IPv6 address.') });

const networking = object(
  'Where the pod is reached.',
  {
    addressing: list('Addresses of the pod.', addressPair),
    node: text('Address of the node, as other nodes reach it.'),
  },
  { required: ['addressing'] },
);

const encryption = object('Encryption of the node.', { key: integer('Index of the key; 0 is none.') });

const namedPorts = list(
  'Named ports of the containers.',
  object('A named port.', {
    name: text('Name of the port.'),
    port: integer('Number of the port.'),
    protocol: text('TCP, UDP, SCTP or ANY.'),
  }),
);

const tuples = (description: string): Schema =>
  list(
    description,
    object('A peer on a port.', {
      identity: long('Identity of the peer; 0 is any.'),
      'identity-labels': map('Labels of the identity.', { type: 'string' }),
      'dest-port': integer('Destination port; 0 is any.'),
      protocol: integer('IANA number of the protocol; 0 is any.'),
    }),
  );

const direction = (description: string): Schema =>
  object(
    description,
    {
      enforcing: flag('Whether what no rule allows is denied.'),
      allowed: tuples('Who is allowed.'),
      denied: tuples('Who is denied.'),
      adding: tuples('No longer written.'),
      removing: tuples('No longer written.'),
      state: text('enforcing, non-enforcing or disabled.'),
    },
    { required: ['enforcing'] },
  );

const controllers = list(
  'Controllers that fail.',
  object('A controller.', {
    name: text('Name.'),
    uuid: text('Unique id.'),
    configuration: object('How it runs.', {
      'error-retry': flag('Whether it tries again.'),
      'error-retry-base': long('Nanoseconds to the first retry.'),
      interval: long('Nanoseconds between runs.'),
    }),
    status: object('How it went.', {
      'consecutive-failure-count': long('Failures since the last success.'),
      'failure-count': long('Failures.'),
      'last-failure-msg': text('Why it last failed.'),
      'last-failure-timestamp': text('When it last failed.'),
      'last-success-timestamp': text('When it last succeeded.'),
      'success-count': long('Successes.'),
    }),
  }),
);

const externalIdentifiers = object('Names that others give the endpoint.', {
  'container-id': text('Container, by the runtime.'),
  'container-name': text('Container name.'),
  'cni-attachment-id': text('Container and interface, as the CNI plugin was told.'),
  'docker-endpoint-id': text('Docker endpoint.'),
  'docker-network-id': text('Docker network.'),
  'k8s-namespace': text('Namespace of the pod.'),
  'k8s-pod-name': text('Name of the pod.'),
  'pod-name': text('Namespace and name of the pod.'),
});

const log = list(
  'Last changes of state.',
  object('A change.', {
    code: text('ok or failed.'),
    message: text('What happened.'),
    state: text('State.'),
    timestamp: text('When.'),
  }),
);

const status = object('The endpoint as its agent sees it.', {
  id: long('Id of the endpoint on its node.'),
  identity: object('Security identity.', {
    id: long('Number of the identity.'),
    labels: list('Labels of the identity.', text('A label with its source.')),
  }),
  networking,
  encryption,
  policy: object('Policy as it is enforced.', { ingress: direction('Ingress.'), egress: direction('Egress.') }),
  state: choice('State of the endpoint.', [
    ...['creating', 'waiting-for-identity', 'not-ready', 'waiting-to-regenerate', 'regenerating', 'restoring', 'ready'],
    ...['disconnecting', 'disconnected', 'invalid'],
  ]),
  'named-ports': namedPorts,
  'external-identifiers': externalIdentifiers,
  health: object('Health.', {
    overallHealth: text('Overall.'),
    bpf: text('Programs and maps.'),
    policy: text('Policy.'),
    connected: flag('Whether the endpoint is reached.'),
  }),
  controllers,
  log,
  'service-account': text('Service account of the pod.'),
  'visibility-policy-status': text('No longer written.'),
});

const column = (
  name: string,
  jsonPath: string,
  description: string,
  more: Partial<PrinterColumn> = {},
): PrinterColumn => ({
  name,
  type: 'string',
  jsonPath,
  description,
  ...more,
});

const COLUMNS: readonly PrinterColumn[] = [
  column('Security Identity', '.status.identity.id', 'Number of the security identity', { type: 'integer' }),
  column('Ingress Enforcement', '.status.policy.ingress.state', 'Whether ingress policy is enforced', { priority: 1 }),
  column('Egress Enforcement', '.status.policy.egress.state', 'Whether egress policy is enforced', { priority: 1 }),
  column('Endpoint State', '.status.state', 'State of the endpoint'),
  column('IPv4', '.status.networking.addressing[0].ipv4', 'IPv4 address'),
  column('IPv6', '.status.networking.addressing[0].ipv6', 'IPv6 address'),
];

const coreEndpoint = object('What other nodes need to know of an endpoint.', {
  name: text('Name of the CiliumEndpoint.'),
  id: long('Number of the security identity.'),
  networking,
  encryption,
  'named-ports': namedPorts,
  'service-account': text('Service account of the pod.'),
});

export const ENDPOINT_DEFINITIONS: readonly Definition[] = [
  {
    kind: 'CiliumEndpoint',
    plural: 'ciliumendpoints',
    shortNames: ['cep', 'ciliumep'],
    categories: ['cilium'],
    namespaced: true,
    versions: [
      {
        name: 'v2',
        schema: kindSchema(
          'A pod as an endpoint of policy. Its name is that of the pod.',
          { status },
          { required: ['metadata'] },
        ),
        columns: COLUMNS,
        status: true,
      },
    ],
  },
  {
    kind: 'CiliumEndpointSlice',
    plural: 'ciliumendpointslices',
    shortNames: ['ces'],
    categories: ['cilium'],
    namespaced: false,
    versions: [
      {
        name: 'v2alpha1',
        schema: kindSchema(
          'Endpoints of one namespace, batched.',
          {
            namespace: text('Namespace of the endpoints.'),
            endpoints: list('The endpoints.', coreEndpoint, { 'x-kubernetes-list-type': 'atomic' }),
          },
          { required: ['metadata', 'endpoints'] },
        ),
        columns: [AGE],
        status: false,
      },
    ],
  },
];
