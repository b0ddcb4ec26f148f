/** CiliumNode: what nodes tell each other, and what the operator gives each. */
import { AGE, kindSchema, type Definition } from './definition.ts';
import { integer, list, long, map, object, text, type Schema } from './schema.ts';

const pair = (description: string): Schema =>
  object(description, { ipv4: text('IPv4 address.'), ipv6: text('IPv6 address.') });

const allocations = (description: string): Schema =>
  map(description, object('An address.', { owner: text('Who uses it.'), resource: text('What it belongs to.') }));

const watermark = (description: string): Schema => integer(description, { minimum: 0 });

const pools = object('Pools of addresses.', {
  requested: list(
    'What the agent asks for.',
    object(
      'A request.',
      {
        pool: text('Name of the pool.', { minLength: 1 }),
        needed: object('Numbers of addresses.', { 'ipv4-addrs': integer('IPv4.'), 'ipv6-addrs': integer('IPv6.') }),
      },
      { required: ['pool'] },
    ),
  ),
  allocated: list(
    'What the operator gave.',
    object(
      'An allocation.',
      {
        pool: text('Name of the pool.', { minLength: 1 }),
        cidrs: list('Pod CIDRs.', text('A prefix.', { format: 'cidr' })),
      },
      { required: ['pool'] },
    ),
  ),
});

const spec = object('What the node tells of itself, and what it is given.', {
  addresses: list(
    'Addresses of the node.',
    object('An address.', {
      type: text('InternalIP, ExternalIP, CiliumInternalIP, Hostname …'),
      ip: text('The address.'),
    }),
  ),
  bootid: text('Changes with every boot.'),
  encryption: object('Encryption of the node.', { key: integer('Index of the key; 0 is none.') }),
  health: pair('Addresses of the health endpoint.'),
  ingress: pair('Addresses of the ingress listener.'),
  'instance-id': text('Id of the machine with its cloud.'),
  ipam: object('Addresses for pods.', {
    podCIDRs: list('Pod CIDRs of the node, which the operator writes in cluster-pool mode.', text('A prefix.')),
    pools,
    pool: allocations('IPv4 addresses.'),
    'ipv6-pool': allocations('IPv6 addresses.'),
    'max-above-watermark': watermark('Addresses beyond the watermark.'),
    'max-allocate': watermark('Most addresses.'),
    'min-allocate': watermark('Fewest addresses.'),
    'pre-allocate': watermark('Addresses to have in reserve.'),
    'static-ip-tags': map('Tags of static addresses.', { type: 'string' }),
  }),
  nodeidentity: long('Identity of the node, if it has one of its own.'),
});

const status = object('What became of it.', {
  ipam: object('Addresses for pods.', {
    used: allocations('IPv4 addresses in use.'),
    'ipv6-used': allocations('IPv6 addresses in use.'),
    'pod-cidrs': map(
      'Pod CIDRs and how they are used.',
      object('A pod CIDR.', { status: text('released, depleted or in-use.') }),
    ),
    'operator-status': object('What the operator has to say.', { error: text('Why the node got no addresses.') }),
    'release-ips': map('Addresses that are being given back.', { type: 'string' }),
  }),
});

export const NODE_DEFINITION: Definition = {
  kind: 'CiliumNode',
  plural: 'ciliumnodes',
  shortNames: ['cn', 'ciliumn'],
  categories: ['cilium'],
  namespaced: false,
  versions: [
    {
      name: 'v2',
      schema: kindSchema(
        'A node with an agent. Its name is that of the Node.',
        { spec, status },
        { required: ['metadata', 'spec'] },
      ),
      columns: [
        {
          name: 'CiliumInternalIP',
          type: 'string',
          jsonPath: '.spec.addresses[?(@.type=="CiliumInternalIP")].ip',
          description: 'Address of the node in the pod network',
        },
        {
          name: 'InternalIP',
          type: 'string',
          jsonPath: '.spec.addresses[?(@.type=="InternalIP")].ip',
          description: 'Address of the node',
        },
        AGE,
      ],
      status: true,
    },
  ],
};
