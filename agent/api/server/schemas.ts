/** JSON schemas of what the API takes in; the OpenAPI description is made of them. */

const text = { type: 'string' } as const;
const flag = { type: 'boolean' } as const;
const index = { type: 'integer', minimum: 0 } as const;
const id = { type: 'string', minLength: 1, maxLength: 512 } as const;

export const labels = { type: 'array', items: { type: 'string', minLength: 1 } } as const;
const configurationMap = { type: 'object', additionalProperties: text } as const;

/** Fields of a request that Weir does not know are refused, so that a mistyped one is not silently without effect. */
const closed = <P extends Readonly<Record<string, unknown>>>(properties: P) =>
  ({ type: 'object', additionalProperties: false, properties }) as const;

export const endpointParams = { type: 'object', required: ['id'], properties: { id } } as const;
export const identityParams = { type: 'object', required: ['id'], properties: { id } } as const;
export const serviceParams = {
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'integer', minimum: 1, maximum: 65_535 } },
} as const;
export const ipParams = { type: 'object', required: ['ip'], properties: { ip: id } } as const;
export const mapParams = { type: 'object', required: ['name'], properties: { name: id } } as const;

/** EndpointState of the peer's API. */
const endpointState = {
  type: 'string',
  enum: [
    'waiting-for-identity',
    'waiting-to-regenerate',
    'regenerating',
    'ready',
    'not-ready',
    'disconnecting',
    'disconnected',
    'restoring',
    'invalid',
  ],
} as const;

export const addressPair = closed({
  ipv4: text,
  'ipv4-expiration-uuid': text,
  'ipv4-pool-name': text,
  ipv6: text,
  'ipv6-expiration-uuid': text,
  'ipv6-pool-name': text,
});

const bandwidthLimit = {
  ...closed({
    'bits-per-second': { type: 'integer', minimum: 1e3, maximum: 1e15 },
    'burst-bytes': { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
  }),
  required: ['bits-per-second'],
} as const;

export const endpointChangeRequest = closed({
  id: index,
  'container-id': text,
  'container-name': text,
  'container-interface-name': { type: 'string', minLength: 1, maxLength: 15 },
  'docker-endpoint-id': text,
  'docker-network-id': text,
  labels,
  'interface-name': text,
  'interface-index': index,
  state: endpointState,
  mac: text,
  'host-mac': text,
  addressing: addressPair,
  'k8s-pod-name': text,
  'k8s-namespace': text,
  'k8s-uid': text,
  'datapath-map-id': index,
  'policy-enabled': flag,
  pid: index,
  'sync-build-endpoint': flag,
  'datapath-configuration': { type: 'object' },
  'network-namespace-path': { type: 'string', minLength: 1 },
  // Smallest MTU of IPv4 (RFC 791); IPv6 needs 1280, which the agent checks when it is served.
  mtu: { type: 'integer', minimum: 68, maximum: 65535 },
  bandwidth: closed({ ingress: bandwidthLimit, egress: bandwidthLimit }),
});

export const endpointBatchDeleteRequest = {
  ...closed({ 'container-id': { type: 'string', minLength: 1 } }),
  required: ['container-id'],
} as const;

export const labelConfigurationSpec = closed({ user: labels });

export const endpointConfigurationSpec = closed({
  options: configurationMap,
  'label-configuration': labelConfigurationSpec,
});

export const daemonConfigurationSpec = closed({
  options: configurationMap,
  'policy-enforcement': { type: 'string', enum: ['default', 'always', 'never'] },
});

export const ipamQuery = closed({ family: { type: 'string', enum: ['ipv4', 'ipv6'] }, owner: text });
export const ipamOwnerQuery = closed({ owner: text });
export const ipQuery = closed({ cidr: text, labels: text });
const whole = (maximum: number) => ({ type: 'integer', minimum: 0, maximum }) as const;
export const explainQuery = {
  ...closed({
    direction: { type: 'string', enum: ['ingress', 'egress'] },
    subject: whole(0xffff_ffff),
    peer: whole(0xffff_ffff),
    protocol: whole(255),
    port: whole(65535),
  }),
  required: ['direction', 'subject', 'peer', 'protocol', 'port'],
} as const;
export const trialRequest = {
  ...closed({ manifest: text, seconds: { type: 'integer', minimum: 1, maximum: 86_400 } }),
  required: ['manifest', 'seconds'],
} as const;
export const namePatternQuery = closed({ matchpattern: text });
export const nameQuery = closed({
  matchpattern: text,
  cidr: text,
  source: { type: 'string', enum: ['lookup', 'connection'] },
});
export const monitorQuery = closed({
  type: { type: 'string', pattern: '^(drop|trace|policy-verdict|l7)(,(drop|trace|policy-verdict|l7))*$' },
});
export const healthQuery = closed({ brief: flag });

/** Headers of `POST /v1/ipam`: whether the address goes back when nobody takes it. */
export const ipamHeaders = { type: 'object', properties: { expiration: flag } } as const;

/** `{id}` in words, for the description. */
export const ENDPOINT_ID_HELP =
  'A number, or one of cilium-local:, cni-attachment-id:<container>:<interface>, container-id:, container-name:, ' +
  'pod-name:<namespace>/<name>, cep-name:, ipv4:, ipv6: and what belongs to it.';
