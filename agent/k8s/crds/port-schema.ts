/** `toPorts` and `icmps` of a policy's rules. */
import { choice, exactlyOne, integer, list, object, text, type Schema } from './schema.ts';

const PROTOCOLS = ['TCP', 'UDP', 'SCTP', 'VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH', 'ANY'];

/** A number up to 65535, or a name with at least one letter. */
const PORT =
  '^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})$|^([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$';

const ports = list(
  'Ports, any of which will do.',
  object('A port, a range of ports, or a named port.', {
    port: text('Port number, or name of a container port; "0" is every port.', { pattern: PORT }),
    endPort: integer('Last port of a range that begins at port.', { format: 'int32', minimum: 0, maximum: 65535 }),
    protocol: choice('Protocol; ANY, the default, is all that have ports.', PROTOCOLS),
  }),
  { maxItems: 40 },
);

const secret = object(
  'A secret.',
  {
    namespace: text('Namespace of the secret; that of the policy when absent.'),
    name: text('Name of the secret.'),
  },
  { required: ['name'] },
);

const headerMatch = object(
  'A header that must be there.',
  {
    mismatch: choice('What to do when it is not as wanted; without it the request is refused.', [
      'LOG',
      'ADD',
      'DELETE',
      'REPLACE',
    ]),
    name: text('Name of the header.', { minLength: 1 }),
    secret,
    value: text('Value of the header; absent when a secret has it, or when any will do.'),
  },
  { required: ['name'] },
);

const http = object('What a request must be like.', {
  path: text('Extended regular expression that the whole path matches.'),
  method: text('Extended regular expression that the whole method matches.'),
  host: text('Extended regular expression that the host matches.', { format: 'idn-hostname' }),
  headers: list('Headers that must be there.', text('A header.')),
  headerMatches: list('Headers, and what to do when they are not as wanted.', headerMatch),
});

/** A name, or a pattern in which * stands for characters of one label. */
export const nameFields: Readonly<Record<string, Schema>> = {
  matchName: text('The name itself.', { maxLength: 255, pattern: '^([-a-zA-Z0-9_]+[.]?)+$' }),
  matchPattern: text('A name with *, each of which stands for any characters but a dot.', {
    maxLength: 255,
    pattern: '^(([-a-zA-Z0-9_*]+[.]?)+)$',
  }),
};

const dns = object('Names that may be asked for.', nameFields, exactlyOne('matchName', 'matchPattern'));

const tlsContext = (description: string): Schema =>
  object(
    description,
    {
      secret,
      trustedCA: text('Entry of the secret that holds the authorities to trust; ca.crt when absent.'),
      certificate: text('Entry that holds the certificate; tls.crt when absent.'),
      privateKey: text('Entry that holds the key; tls.key when absent.'),
    },
    { required: ['secret'] },
  );

const listener = object(
  'An Envoy listener that reads the traffic.',
  {
    envoyConfig: object(
      'The configuration that defines the listener.',
      {
        kind: choice('Its kind.', ['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig']),
        name: text('Its name.', { minLength: 1 }),
      },
      { required: ['name'] },
    ),
    name: text('Name of the listener.', { minLength: 1 }),
    priority: integer('Which of several listeners wins: the smaller.', { minimum: 1, maximum: 100 }),
  },
  { required: ['envoyConfig', 'name'] },
);

export const portRules = list(
  'Ports and protocols, any of which will do.',
  object('Ports, and what their traffic must be like.', {
    ports,
    rules: object('What the proxy lets pass at layer 7.', {
      http: list('HTTP requests that pass.', http),
      dns: list('Names that may be asked for.', dns),
    }),
    listener,
    terminatingTLS: tlsContext('Certificates for TLS that pods open and the proxy ends.'),
    originatingTLS: tlsContext('Certificates for TLS that the proxy opens.'),
    serverNames: list(
      'TLS server names (SNI) that may be asked for.',
      text('A name.', { minLength: 1, maxLength: 255 }),
      {
        'x-kubernetes-list-type': 'set',
      },
    ),
  }),
);

export const portDenyRules = list('Ports and protocols, any of which will do.', object('Ports.', { ports }));

const ICMP_NAMES = [
  ...[
    'EchoReply',
    'DestinationUnreachable',
    'Redirect',
    'Echo',
    'EchoRequest',
    'RouterAdvertisement',
    'RouterSelection',
  ],
  ...[
    'TimeExceeded',
    'ParameterProblem',
    'Timestamp',
    'TimestampReply',
    'Photuris',
    'ExtendedEchoRequest',
    'ExtendedEchoReply',
  ],
  ...[
    'PacketTooBig',
    'MulticastListenerQuery',
    'MulticastListenerReport',
    'MulticastListenerDone',
    'RouterSolicitation',
  ],
  ...[
    'NeighborSolicitation',
    'NeighborAdvertisement',
    'RedirectMessage',
    'RouterRenumbering',
    'ICMPNodeInformationQuery',
  ],
  ...['ICMPNodeInformationResponse', 'InverseNeighborDiscoverySolicitation', 'InverseNeighborDiscoveryAdvertisement'],
  ...['HomeAgentAddressDiscoveryRequest', 'HomeAgentAddressDiscoveryReply', 'MobilePrefixSolicitation'],
  ...['MobilePrefixAdvertisement', 'DuplicateAddressRequestCodeSuffix', 'DuplicateAddressConfirmationCodeSuffix'],
];

export const icmps = list(
  'ICMP types, any of which will do.',
  object('ICMP types.', {
    fields: list(
      'ICMP types.',
      object(
        'An ICMP type.',
        {
          family: choice('IPv4 for ICMP, IPv6 for ICMPv6.', ['IPv4', 'IPv6'], { default: 'IPv4' }),
          type: {
            description: 'Number of the type, or its name.',
            anyOf: [{ type: 'integer' }, { type: 'string' }],
            pattern: `^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]|${ICMP_NAMES.join('|')})$`,
            'x-kubernetes-int-or-string': true,
          },
        },
        { required: ['type'] },
      ),
      { maxItems: 40 },
    ),
  }),
);
