/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every layout that the kernel programs and the agent share. hack/bpf-gen.ts reads these types from BTF and writes
 * the files of bpf/gen: change them here and nowhere else.
 *
 * Fields of type __be16 and __be32 are in network order, every other integer in host order; the generated codecs convert.
 * An `addr` is 16 bytes in network order: an IPv4 address fills the first four and leaves the rest zero.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

/* An IPv4 address; the generated codecs hand it over as its four bytes. */
typedef __be32 ipv4;

#define ADDR_BYTES 16
#define MAC_BYTES  6

/* Directions of policy are always the endpoint's view. The values are what policy keys carry in `egress`. */
enum direction {
	DIRECTION_INGRESS = 0,
	DIRECTION_EGRESS  = 1,
};

enum family {
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

/* Reserved identities that the datapath itself hands out (S1). */
enum reserved_identity {
	IDENTITY_UNKNOWN    = 0,
	IDENTITY_HOST       = 1,
	IDENTITY_WORLD      = 2,
	IDENTITY_HEALTH     = 4,
	IDENTITY_INIT       = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS    = 8,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
};

/* Bounds of the identities that more than one node knows, and of those that only their node knows (S1). */
enum identity_scope {
	IDENTITY_WELL_KNOWN_FIRST = 100,
	IDENTITY_CLUSTER_FIRST    = 256,
	IDENTITY_CLUSTER_LAST     = 65535,
	IDENTITY_LOCAL_FIRST      = 1 << 24,
	IDENTITY_LOCAL_LAST       = (2 << 24) - 1,
};

/* ---- skb->mark: what a packet of this node says of itself (lib/mark.h) ---------------------------------------------------- */

/* The kind of a mark stands in these bits, the identity that it carries in the others. */
enum mark {
	MARK_KIND         = 0x0f00,
	MARK_TO_WORLD     = 0x0600, /* a pod's packet that may have to leave under the node's address */
	MARK_TO_PROXY     = 0x0200, /* a pod's packet for a proxy: the node's routing takes it in */
	MARK_PROXY        = 0x0a00, /* a proxy's listeners, and what it sends to pods */
	MARK_PROXY_EGRESS = 0x0b00, /* what a proxy sends to a server for a pod, with the pod's identity */
};

/* ---- weir_lxc: which addresses are local, and how to deliver to them -------------------------------------------------- */

struct endpoint_key {
	__u8 addr[ADDR_BYTES];
	__u8 family;
	__u8 pad[3];
};
_Static_assert(sizeof(struct endpoint_key) == 20, "hashed as a whole: no implicit padding");

enum endpoint_flags {
	ENDPOINT_HOST = 1 << 0, /* an address of the node itself: hand the packet to the host's stack */
};

struct endpoint_info {
	__u32 ifindex; /* host end of the endpoint's veth pair */
	__u16 id;      /* key of weir_call_policy and weir_revision */
	__u16 flags;   /* enum endpoint_flags */
	__u8  mac[MAC_BYTES];      /* the pod's end */
	__u8  host_mac[MAC_BYTES]; /* the host's end */
	__u32 identity;            /* for listings; the datapath takes it from ipcache or the program's config */
};
_Static_assert(sizeof(struct endpoint_info) == 24, "");

/* ---- weir_ipcache: longest prefix → identity -------------------------------------------------------------------------- */

/*
 * `pad` and `family` come before the address so that both families share one trie and no prefix of one can cover an
 * address of the other: prefixlen = IPCACHE_STATIC_BITS + the length of the prefix.
 */
struct ipcache_key {
	__u32 prefixlen;
	__u8  pad[3];
	__u8  family;
	__u8  addr[ADDR_BYTES];
};
_Static_assert(sizeof(struct ipcache_key) == 24, "");
enum ipcache_bits { IPCACHE_STATIC_BITS = 32 };

enum ipcache_flags {
	IPCACHE_TUNNEL = 1 << 0, /* `tunnel` is set: reach the prefix through that node */
};

struct ipcache_info {
	__u32 identity;
	__u8  flags; /* enum ipcache_flags */
	__u8  tunnel_family;
	__u8  pad[2];
	__u8  tunnel[ADDR_BYTES];
};
_Static_assert(sizeof(struct ipcache_info) == 24, "");

/* ---- weir_tunnel: longest prefix of pods' addresses → the node that has them; keys as those of weir_ipcache ------------ */

struct tunnel_info {
	__u8 family; /* enum family, of the node's address */
	__u8 pad[3];
	__u8 addr[ADDR_BYTES];
};
_Static_assert(sizeof(struct tunnel_info) == 20, "");

/* ---- weir_nodes: addresses from which other nodes send through the tunnel; keys as those of weir_lxc ------------------- */

struct node_info {
	__u32 flags; /* none yet */
};

/* ---- weir_policy_<endpoint>: longest prefix of (identity, direction, protocol, port) → verdict ------------------------- */

/*
 * The order of the fields decides what a prefix can leave open (S6): the port by prefix once the protocol is given, the
 * protocol only together with the port, identity and direction never. An ICMP type stands in `port` (S10).
 */
struct policy_key {
	__u32  prefixlen; /* POLICY_STATIC_BITS, + POLICY_PROTOCOL_BITS, + 0 to 16 bits of port */
	__u32  identity;  /* exact, or 0 for any */
	__u8   egress;    /* enum direction */
	__u8   protocol;
	__be16 port;
};
_Static_assert(sizeof(struct policy_key) == 12, "");
enum policy_bits { POLICY_STATIC_BITS = 40, POLICY_PROTOCOL_BITS = 8, POLICY_PORT_BITS = 16 };

/* `flags` also holds, in its upper five bits, how many bits past POLICY_STATIC_BITS the entry's own key has (0 to 24):
 * a trie does not tell which prefix it found. */
enum policy_flags {
	POLICY_DENY          = 1 << 0,
	POLICY_AUTH_EXPLICIT = 1 << 1, /* the rules name auth_type; for readers of the map */
	POLICY_AUDITED       = 1 << 2, /* allowed, but audited policies would deny it: the cookie names them */
	POLICY_PREFIX_SHIFT  = 3,
};

struct policy_entry {
	__be16 proxy_port; /* 0: not redirected */
	__u8   flags;      /* enum policy_flags */
	__u8   auth_type;  /* enum auth_type */
	__u32  precedence; /* higher wins (S7) */
	__u32  cookie;     /* names the deciding rules in events; 0 is none */
};
_Static_assert(sizeof(struct policy_entry) == 12, "");

enum auth_type {
	AUTH_NONE        = 0,
	AUTH_SPIRE       = 1,
	AUTH_ALWAYS_FAIL = 2,
	AUTH_DISABLED    = 255, /* explicitly not wanted: behaves as none */
};

/* weir_policystats: what each policy entry decided, key for key as in the endpoint's policy map. */
struct policystats_key {
	__u16  endpoint;
	__u8   egress;
	__u8   protocol;
	__u32  identity;
	__be16 port;
	__u8   prefix; /* bits past POLICY_STATIC_BITS */
	__u8   pad;
};
_Static_assert(sizeof(struct policystats_key) == 12, "");

struct traffic {
	__u64 packets;
	__u64 bytes;
};

/* ---- weir_revision: what makes a remembered verdict stale --------------------------------------------------------------- */

/*
 * The revision in force for an endpoint is revision[0] + revision[endpoint id]. Whoever changes what verdicts depend on
 * writes the maps FIRST and then raises a revision: [id] for the endpoint's policy, [0] for the ipcache or an identity.
 * A revision only ever rises, also when an endpoint id is used again, so the sum is equal only if neither part moved.
 */
struct endpoint_state {
	__u64 revision;
	__u32 flags; /* enum endpoint_state_flags */
	__u32 pad;
};
_Static_assert(sizeof(struct endpoint_state) == 16, "one cache line read; a store of `revision` does not tear");

enum endpoint_state_flags {
	STATE_LOCKDOWN = 1 << 0, /* drop everything: the endpoint's policy did not fit its map */
	STATE_TRACED   = 1 << 1, /* of the node: somebody listens to traces */
	STATE_INGRESS_LIMITED = 1 << 2, /* weir_bandwidth says how much the endpoint may be sent */
	STATE_EGRESS_LIMITED  = 1 << 3, /* and how much it may send */
};

/* ---- weir_bandwidth: what an endpoint may send, or be sent --------------------------------------------------------------- */

struct bandwidth_key {
	__u16 endpoint;
	__u8  direction; /* enum direction */
	__u8  pad;
};
_Static_assert(sizeof(struct bandwidth_key) == 4, "hashed as a whole: no implicit padding");

/* A bucket of time instead of tokens: one word holds all of it, so CPUs share it by atomic operations alone. */
struct bandwidth {
	__u64 rate;       /* bytes a second */
	__u64 depth;      /* nanoseconds that `paid_until` may lie ahead of now: what may pass at once after a pause */
	__u64 paid_until; /* nanoseconds of CLOCK_MONOTONIC: when all that has passed so far would have, at that rate */
};
_Static_assert(sizeof(struct bandwidth) == 24, "");

/* ---- weir_ct4, weir_ct6: connections -------------------------------------------------------------------------------------- */

/*
 * A connection is keyed from its endpoint's point of view, so that both directions of the traffic find it with one lookup;
 * the entry says which side opened it. A connection between two local pods has two entries, one for each endpoint.
 * ICMP echo puts its id into the port of the side that asked and 0 into the other.
 */
struct ct4_key {
	ipv4   local;
	ipv4   remote;
	__be16 local_port;
	__be16 remote_port;
	__u8   protocol;
	__u8   scope; /* enum ct_scope */
	__u8   pad[2];
};
_Static_assert(sizeof(struct ct4_key) == 16, "hashed as a whole: no implicit padding");

struct ct6_key {
	__u8   local[ADDR_BYTES];
	__u8   remote[ADDR_BYTES];
	__be16 local_port;
	__be16 remote_port;
	__u8   protocol;
	__u8   scope; /* enum ct_scope */
	__u8   pad[2];
};
_Static_assert(sizeof(struct ct6_key) == 40, "hashed as a whole: no implicit padding");

enum ct_scope {
	CT_SCOPE_ENDPOINT = 0,
};

enum ct_flags {
	CT_SEEN_REPLY      = 1 << 0,
	CT_FIN_FORWARD     = 1 << 1,
	CT_FIN_REPLY       = 1 << 2,
	CT_RESET           = 1 << 3,
	CT_SEEN_NON_SYN    = 1 << 4, /* picked up in mid-stream, after an eviction or an upgrade */
	CT_SOURCE_IS_LOCAL = 1 << 5, /* opened by a socket of the host: identity host is proven, not looked up */
	CT_SOURCE_IS_MARKED = 1 << 6, /* opened by a proxy for a pod, whose identity peer_identity is */
	CT_FORWARDED       = 1 << 7, /* of the host: others' traffic that it forwards under its own address, not its to judge */
};
enum ct_closing { CT_CLOSING = CT_FIN_FORWARD | CT_FIN_REPLY };

/* `judged` holds revision << CT_REVISION_SHIFT | verdict: one word, so that no CPU can pair one's verdict with
 * another's revision. */
enum ct_judged { CT_REVISION_SHIFT = 8, CT_VERDICT_MASK = 0xff };
enum ct_verdict {
	CT_ALLOWED = 1,
	CT_AUDITED = 2, /* denied by policy in audit mode, or by an audited policy: forwarded all the same */
	/* any other value: the enum drop_reason it is refused for */
};

/* [0] counts the direction that opened the connection, [1] the replies. */
enum ct_way { CT_FORWARD = 0, CT_REPLY = 1 };

struct ct_entry {
	__u64  expires; /* nanoseconds of CLOCK_MONOTONIC */
	__u64  judged;
	__u64  packets[2];
	__u64  bytes[2];
	__u32  peer_identity; /* the remote side's, when last judged */
	__u32  cookie;        /* of the policy entry that decided last */
	__be16 policy_port;   /* original destination port, or ICMP type: what policy is asked again */
	__be16 proxy_port;
	__u16  rev_nat;   /* key of weir_lb_revnat: the frontend that the opener knows the remote side by; 0 is none */
	__u8   direction; /* enum direction: who opened it, from the endpoint's view */
	__u8   flags;     /* enum ct_flags */
	__u32  touched;   /* low bits of the kernel's jiffies when `expires` was last written */
	__u16  peer_endpoint; /* the remote side's endpoint id when last judged; 0 when it was not a local pod */
	__u8   flags_traced[2]; /* of trace_flags, by enum ct_way: those that a trace has shown */
	__u32  traced;          /* low bits of the milliseconds of CLOCK_MONOTONIC when the latest interval of traces began */
	__u8   trace_due;       /* by 1 << enum ct_way: in this interval no trace has shown that way yet */
	__u8   pad[3];
};
_Static_assert(sizeof(struct ct_entry) == 80, "");

/* ---- weir_lb_*: services ---------------------------------------------------------------------------------------------------- */

/*
 * weir_lb_services: slot 0 of a frontend says how many backends it has and under which number it travels; slots 1 to `count`
 * name one each. Whoever writes them writes backends first, then slots, then slot 0: a reader never finds a slot empty.
 */
struct lb_service_key {
	__u8   addr[ADDR_BYTES]; /* all zero: a node port at the address of any node of the cluster, for clients of this node */
	__be16 port;
	__u16  slot;
	__u8   protocol;
	__u8   family;
	__u8   scope; /* enum lb_scope */
	__u8   pad;
};
_Static_assert(sizeof(struct lb_service_key) == 24, "hashed as a whole: no implicit padding");

enum lb_scope {
	LB_SCOPE_INTERNAL = 0, /* clients of this node; everybody where LB_TWO_SCOPES is not set */
	LB_SCOPE_EXTERNAL = 1, /* clients from outside */
};

enum lb_flags {
	LB_TWO_SCOPES     = 1 << 0, /* clients from outside have slots of their own, slot 0 among them */
	LB_SOURCE_RANGES  = 1 << 1, /* clients from outside must be in weir_lb_source_ranges */
	LB_MAGLEV         = 1 << 2, /* clients from outside are spread by weir_lb_maglev */
	LB_LOCAL_INTERNAL = 1 << 3, /* internalTrafficPolicy: Local; for listings */
	LB_LOCAL_EXTERNAL = 1 << 4, /* externalTrafficPolicy: Local; for listings */
};

enum lb_kind {
	LB_CLUSTER_IP    = 0,
	LB_LOAD_BALANCER = 1,
	LB_EXTERNAL_IP   = 2,
	LB_NODE_PORT     = 3,
	LB_HOST_PORT     = 4,
};

struct lb_service {
	__u32 backend;          /* slots from 1 on: key of weir_lb_backends */
	__u32 affinity_seconds; /* slot 0: for how long a client keeps its backend; 0 without affinity */
	__u16 count;            /* slot 0: of backends */
	__u16 id;               /* slot 0: key of weir_lb_revnat */
	__u8  kind;             /* enum lb_kind */
	__u8  flags;            /* enum lb_flags */
	__u8  pad[2];
};
_Static_assert(sizeof(struct lb_service) == 16, "");

/* One end of a connection that services know by its address: a backend's, or a frontend's. */
struct lb_socket {
	__u8   addr[ADDR_BYTES];
	__be16 port;
	__u8   protocol;
	__u8   family; /* 0: nothing is here */
	__u8   state;  /* of a backend: enum lb_state */
	__u8   pad[3];
};
_Static_assert(sizeof(struct lb_socket) == 24, "");

enum lb_state {
	LB_ACTIVE      = 0,
	LB_TERMINATING = 1, /* keeps the connections that it has */
	LB_UNREADY     = 2, /* likewise, TCP's */
};

/* weir_lb_flows: where a connection through a frontend went. */
struct lb_flow_key {
	__u8   client[ADDR_BYTES];
	__be16 client_port;
	__u16  service; /* lb_service.id: it stands for address, port and protocol */
};
_Static_assert(sizeof(struct lb_flow_key) == 20, "hashed as a whole: no implicit padding");

/* weir_lb_asked: the node that a client asked, where the frontend is a node port at any node's address (all zero); same keys. */
struct lb_asked {
	__u8 addr[ADDR_BYTES];
};

/* weir_lb_affinity: which backend a client had last (sessionAffinity: ClientIP). */
struct lb_affinity_key {
	__u8  client[ADDR_BYTES]; /* address, or cookie of a network namespace in the first eight bytes */
	__u16 service;            /* lb_service.id */
	__u8  kind;               /* enum lb_client_kind */
	__u8  pad;
};
_Static_assert(sizeof(struct lb_affinity_key) == 20, "hashed as a whole: no implicit padding");

enum lb_client_kind {
	LB_CLIENT_ADDRESS = 0,
	LB_CLIENT_NETNS   = 1,
};

/* A backend that somebody had before. */
struct lb_last {
	__u64 used; /* nanoseconds of CLOCK_MONOTONIC */
	__u32 backend;
	__u32 pad;
};

/* weir_lb_members: backends of the frontends that have affinity. */
struct lb_member {
	__u32 backend;
	__u16 service; /* lb_service.id */
	__u16 pad;
};

/* weir_lb_source_ranges: prefixlen = LB_SOURCE_STATIC_BITS + the length of the prefix. */
struct lb_source_key {
	__u32 prefixlen;
	__u16 service; /* lb_service.id */
	__u8  family;
	__u8  pad;
	__u8  addr[ADDR_BYTES];
};
_Static_assert(sizeof(struct lb_source_key) == 24, "");
enum lb_source_bits { LB_SOURCE_STATIC_BITS = 32 };

/* weir_lb_maglev: a frontend's table of backends, cut into chunks of LB_MAGLEV_CHUNK backends, four bytes each. */
struct lb_maglev_key {
	__u16 service; /* lb_service.id */
	__u16 chunk;
};
enum lb_maglev_size { LB_MAGLEV_CHUNK = 128 };

/* weir_lb_sock_peers: what a socket believes to speak to, by what it speaks to. */
struct lb_sock_key {
	__u64  cookie; /* of the socket */
	__u8   addr[ADDR_BYTES];
	__be16 port;
	__u8   protocol;
	__u8   family;
	__u32  pad;
};
_Static_assert(sizeof(struct lb_sock_key) == 32, "hashed as a whole: no implicit padding");

/* weir_lb_sock_flows: the backend that an unconnected socket sends a service's datagrams to. Its value is a lb_last. */
struct lb_sock_flow_key {
	__u64 cookie; /* of the socket */
	__u32 service; /* lb_service.id */
	__u32 pad;
};

/* ---- weir_nat: connections that go on under an address of this node ------------------------------------------------------------ */

/*
 * A connection has two entries: one by what its client sends (NAT_OUT), which says where that goes on from, and one by what
 * the other side answers (NAT_IN), which says whose it is, and for how long. The second is what makes a port taken: a first
 * that leads to somebody else's second is worth nothing. Ports of ICMP echo: see struct ct4_key.
 */
struct nat_key {
	__u8   remote[ADDR_BYTES];
	__u8   local[ADDR_BYTES]; /* NAT_OUT: the client's; NAT_IN: this node's */
	__be16 remote_port;
	__be16 local_port;
	__u16  service; /* NAT_OUT: lb_service.id by which a client from outside came; 0: a pod of this node speaks to the world */
	__u8   protocol;
	__u8   family;
	__u8   way; /* enum nat_way */
	__u8   pad[3];
};
_Static_assert(sizeof(struct nat_key) == 44, "hashed as a whole: no implicit padding");

enum nat_way {
	NAT_OUT = 0,
	NAT_IN  = 1,
};

/* Below are the ports of the node's own sockets: those that they get by themselves end at 60999 (ip_local_port_range). */
enum nat_ports { NAT_FIRST_PORT = 61000, NAT_PORTS = 65536 - NAT_FIRST_PORT };

struct nat_entry {
	__u64  expires; /* NAT_IN: nanoseconds of CLOCK_MONOTONIC */
	__u8   addr[ADDR_BYTES]; /* `local` of the other entry, and its port */
	__be16 port;
	__u16  service; /* of the NAT_OUT entry */
	__u32  touched; /* NAT_IN: low bits of the kernel's jiffies when `expires` was last written */
	__u8   flags;   /* NAT_IN: enum ct_flags */
	__u8   pad[7];
};
_Static_assert(sizeof(struct nat_entry) == 40, "");

/* ---- weir_fragments: ports of datagrams whose first fragment was seen ----------------------------------------------------- */

struct fragment_key {
	__u8   source[ADDR_BYTES];
	__u8   destination[ADDR_BYTES];
	__be32 id;
	__u8   protocol;
	__u8   family;
	__u16  endpoint; /* whose program saw it: what one endpoint claims is nothing to another */
};
_Static_assert(sizeof(struct fragment_key) == 40, "hashed as a whole: no implicit padding");

struct fragment_ports {
	__be16 source_port;
	__be16 destination_port;
	__be16 policy_port;
};

/* ---- weir_node_config ------------------------------------------------------------------------------------------------------ */

struct node_config {
	__u8  router_ipv4[4];           /* the pods' gateways: addresses of weir_host */
	__u8  router_ipv6[ADDR_BYTES];
	__u32 host_ifindex;             /* weir_host */
	__u8  host_mac[MAC_BYTES];
	__u8  pad[2];
};
_Static_assert(sizeof(struct node_config) == 32, "");

/* ---- weir_metrics ------------------------------------------------------------------------------------------------------------ */

/* An index is direction << METRICS_DIRECTION_SHIFT | reason; reason 0 counts what was forwarded. */
enum metrics_direction {
	METRICS_UNKNOWN = 0,
	METRICS_INGRESS = 1,
	METRICS_EGRESS  = 2,
};
enum metrics_index { METRICS_DIRECTION_SHIFT = 8, METRICS_ENTRIES = 1024 };

/* ---- weir_event_accounts: by enum event_type, for each CPU ------------------------------------------------------------------- */

struct event_account {
	__u64 since;   /* nanoseconds of CLOCK_MONOTONIC up to which `credit` is earned */
	__u64 credit;  /* nanoseconds; an event costs event_cost of them */
	__u64 limited; /* events that there was no credit for */
	__u64 lost;    /* events that did not fit into the ring buffer */
};

/* ---- weir_events -------------------------------------------------------------------------------------------------------------- */

enum event_type {
	EVENT_DROP           = 1,
	EVENT_DEBUG          = 2,
	EVENT_TRACE          = 4,
	EVENT_POLICY_VERDICT = 5,
};
enum event_types { EVENT_TYPES = 8 };

/* Which packets are traced; the levels of Cilium's monitor-aggregation, of which `maximum` is the same as `medium`. */
enum trace_aggregation {
	AGGREGATE_NONE   = 0, /* every packet, where it comes from and where it goes */
	AGGREGATE_LOW    = 1, /* every packet, once, where it goes */
	AGGREGATE_MEDIUM = 2, /* each way of a connection: its first packet, flags not seen before, and one packet an interval */
};

/* Where a traced packet went. */
enum trace_point {
	TRACE_TO_ENDPOINT  = 0,
	TRACE_TO_STACK     = 1,
	TRACE_FROM_NETWORK = 2,
	TRACE_TO_NETWORK   = 3,
	TRACE_TO_PROXY     = 4,
	TRACE_FROM_OVERLAY = 5,
	TRACE_TO_OVERLAY   = 6,
};

/* What conntrack knew of a packet. */
enum ct_status {
	CT_STATUS_NEW         = 0,
	CT_STATUS_ESTABLISHED = 1,
	CT_STATUS_REPLY       = 2,
	CT_STATUS_RELATED     = 3,
	CT_STATUS_NONE        = 4, /* not tracked */
};

/* How specific the deciding policy entry was. */
enum match_kind {
	MATCH_NONE       = 0,
	MATCH_L3_ONLY    = 1,
	MATCH_L3_L4      = 2,
	MATCH_L4_ONLY    = 3,
	MATCH_ALL        = 4,
	MATCH_L3_PROTO   = 5,
	MATCH_PROTO_ONLY = 6,
};

enum verdict {
	VERDICT_DENY     = 0,
	VERDICT_ALLOW    = 1,
	VERDICT_AUDIT    = 2, /* denied, but forwarded: audit mode, or an audited policy */
	VERDICT_REDIRECT = 3,
};

struct event {
	__u64  time; /* nanoseconds of CLOCK_MONOTONIC */
	__u8   type; /* enum event_type */
	__u8   reason;    /* EVENT_DROP: enum drop_reason; EVENT_TRACE: enum trace_point; EVENT_POLICY_VERDICT: a denial's enum drop_reason */
	__u8   direction; /* enum direction */
	__u8   family;    /* enum family; 0 when the packet is not IP, then addresses and ports are zero */
	__u8   protocol;
	__u8   tcp_flags;
	__u8   icmp_type;
	__u8   icmp_code;
	__u16  endpoint; /* whose program speaks; 0 is the host's */
	__be16 source_port;
	__be16 destination_port;
	__be16 ether_type;
	__u32  source_identity;
	__u32  destination_identity;
	__u32  ifindex;
	__u32  length;    /* bytes of the packet, with its link header */
	__u32  cookie;    /* of the deciding policy entry; 0 is none */
	__u8   hook;      /* enum hook: the program that speaks */
	__u8   ct_status; /* enum ct_status */
	__u8   verdict;   /* EVENT_POLICY_VERDICT: enum verdict */
	__u8   match;     /* EVENT_POLICY_VERDICT: enum match_kind */
	__be16 proxy_port;
	__u8   auth_type;
	__u8   pad;
	__u8   source[ADDR_BYTES];
	__u8   destination[ADDR_BYTES];
};
_Static_assert(sizeof(struct event) == 88, "");

/* Where weir_call_policy has the host firewall's policy of the node. */
#define HOST_ENDPOINT 65535

enum hook {
	HOOK_FROM_CONTAINER = 1,
	HOOK_TO_CONTAINER   = 2,
	HOOK_POLICY_INGRESS = 3,
	HOOK_FROM_NETDEV    = 4,
	HOOK_TO_NETDEV      = 5,
	HOOK_FROM_HOST      = 6,
	HOOK_FROM_OVERLAY   = 9,
	HOOK_TO_OVERLAY     = 10,
};
