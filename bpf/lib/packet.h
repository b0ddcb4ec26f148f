/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one context that travels through a program: what the packet is, who is asking, and what was decided. */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "drop_reasons.h"
#include "types.h"

/* Ends the way through TCX without a verdict of ours: whatever else is attached to the device goes next. */
#define TCX_NEXT (-1)

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

#define ALWAYS_INLINE static __always_inline
/* For keys on the stack that hold addresses: filled by words, not byte by byte. */
#define BY_WORDS __attribute__((aligned(8)))
/*
 * For what a usual packet does not need: kept out of the way of the instructions that every packet runs. Not static: the
 * verifier judges a global function once, by its types, instead of once for every path that leads to it. That is what keeps
 * a load at milliseconds. It has to know that pointers are never null (Linux 6.8).
 */
#define OUT_OF_LINE __attribute__((noinline))
#define NONNULL     __attribute__((btf_decl_tag("arg:nonnull")))

union addr {
	ipv4  v4;
	__u8  bytes[ADDR_BYTES];
	__u32 words[4];
	__u64 halves[2];
};

/* One direction of a conversation, as the sender wrote it. Ports of ICMP echo: see struct ct4_key. */
struct flow {
	union addr source;
	union addr destination;
	__be16     source_port;
	__be16     destination_port;
	__u8       protocol;
};

enum packet_shape {
	PACKET_UNPLACED   = 1 << 0, /* a fragment whose datagram's ports are not known (S10) */
	PACKET_ICMP_ERROR = 1 << 1, /* `inner` is the flow that it complains about */
	PACKET_UNTRACKED  = 1 << 2, /* has no reply that could be told apart: judged alone */
	PACKET_LATER_FRAGMENT = 1 << 3, /* has no transport header of its own */
	PACKET_FRAGMENT = 1 << 4, /* the first, or a later one */
};

/* How the identity of the other side of an ingress packet is known. */
enum origin {
	ORIGIN_CARRIED, /* the program before this one found it out: it is in skb->cb */
	ORIGIN_NETWORK, /* a device: the address tells; a socket on it is one of another network namespace */
	ORIGIN_STACK,   /* the host's stack: a local socket proves the host, else the address tells */
};

struct packet {
	struct flow inner;    /* of an ICMP error; cleared by whoever fills it in */
	struct flow flow;
	__u16  ether_type;    /* network order */
	__u8   family;        /* enum family; 0 when not IP */
	__u8   shape;         /* enum packet_shape */
	__u8   tcp_flags;
	__u8   icmp_type;
	__u8   icmp_code;
	__u8   hop_limit;
	__u8   state;         /* enum endpoint_state_flags, of the endpoint. Known once judged */
	__be16 policy_port;   /* what a policy key's port is compared with: destination port, or ICMP type */
	__u16  payload;       /* offset of the transport header */

	__u16  endpoint;      /* whose policy is asked; 0 is the host */
	__u8   direction;     /* enum direction, from that endpoint's view */
	__u8   hook;          /* enum hook */
	__u8   origin;        /* enum origin */
	__u8   ct_status;     /* enum ct_status */
	__u16  peer_endpoint; /* id of the local pod on the other side; 0 when it is not one. Known once judged */
	__u16  frontend;      /* key of weir_lb_revnat: the frontend it was sent to; 0 is none */
	__u16  rev_nat;       /* likewise: the frontend it must seem to come from, being an answer */
	__be16 proxy_port;    /* where a proxy takes the connection; 0 is none. Known once judged */
	__u32  identity;      /* of that endpoint */
	__u32  peer_identity; /* of the other side; 0 until someone has to know */
	__u32  cookie;        /* of the policy entry that decided about it; 0 is none */
};

/* From here on all is zero when a program starts. */
#define PACKET_CLEARED_FROM flow

#define CB_SOURCE_IDENTITY 0
/* The frontend by which a client from outside came; the pod's own program brings the answers back to it. */
#define CB_FRONTEND 1

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

ALWAYS_INLINE bool same_address(const union addr *a, const union addr *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

ALWAYS_INLINE bool is_unspecified(const union addr *address)
{
	return !address->halves[0] && !address->halves[1];
}

ALWAYS_INLINE bool is_icmp(__u8 family, __u8 protocol)
{
	return protocol == (family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* The address of the other side, from the endpoint's view. */
ALWAYS_INLINE const union addr *peer_address(const struct packet *packet)
{
	return packet->direction == DIRECTION_EGRESS ? &packet->flow.destination : &packet->flow.source;
}

/* Loopback, where node ports are the node's own sockets' alone, and no address at all: nothing on a link is for them in earnest. */
ALWAYS_INLINE bool is_of_no_link(__u8 family, const union addr *address)
{
	if (family == FAMILY_IPV4)
		return address->bytes[0] == 127 || !address->v4;
	return !address->halves[0] && !address->words[2] &&
	       (!address->words[3] || address->words[3] == bpf_htonl(1));
}

/* 224.0.0.0/4, the limited broadcast, ff00::/8 and fe80::/10: never leave their link, so never leave the pod. */
ALWAYS_INLINE bool stays_on_link(__u8 family, const union addr *address)
{
	if (family == FAMILY_IPV4)
		return (address->bytes[0] & 0xf0) == 0xe0 || address->v4 == 0xffffffff;
	return address->bytes[0] == 0xff || (address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80);
}
