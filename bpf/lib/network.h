/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Straight to the network, past the host's stack. */
#pragma once

#include "event.h"
#include "overlay.h"
#include "packet.h"
#include "parse.h"

/* The families of the C library's <sys/socket.h>. */
#define NETWORK_AF_INET  2
#define NETWORK_AF_INET6 10

/* RFC 791 §3.1: where the time to live stands, before protocol and checksum; RFC 8200 §3: the hop limit. */
#define IPV4_TTL_OFFSET       8
#define IPV6_HOP_LIMIT_OFFSET 7

/* What the node's routing table is to be asked. */
ALWAYS_INLINE void ask_route(struct bpf_fib_lookup *route, const struct packet *packet)
{
	if (packet->family == FAMILY_IPV4) {
		route->family = NETWORK_AF_INET;
		route->ipv4_src = packet->flow.source.v4;
		route->ipv4_dst = packet->flow.destination.v4;
	} else {
		route->family = NETWORK_AF_INET6;
		__builtin_memcpy(route->ipv6_src, &packet->flow.source, ADDR_BYTES);
		__builtin_memcpy(route->ipv6_dst, &packet->flow.destination, ADDR_BYTES);
	}
}

/*
 * Sends a packet on its way by the node's routing table and neighbours. For what the host's stack would refuse to forward: a
 * packet whose source is an address of this node. Returns a TC verdict.
 */
OUT_OF_LINE int to_network(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };
	long result;

	if (is_tunnel(packet))
		return drop(skb, packet, DROP_TUNNEL_PEER, 0);
	ask_route(&route, packet);
	/* bpf_redirect_neigh asks the neighbour itself. */
	result = bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(skb, packet, DROP_FIB_LOOKUP, 0);
	return bpf_redirect_neigh(route.ifindex, NULL, 0, 0);
}

/* One hop less, as every router has it, and what that does to the header's checksum (RFC 1624). */
ALWAYS_INLINE long take_hop(struct __sk_buff *skb, const struct packet *packet)
{
	struct {
		__u8    ttl;
		__u8    protocol;
		__sum16 checksum;
	} head;
	__u8 hops = packet->hop_limit - 1;
	__u32 sum;

	if (packet->family == FAMILY_IPV6)
		return bpf_skb_store_bytes(skb, ETH_HLEN + IPV6_HOP_LIMIT_OFFSET, &hops, sizeof(hops), BPF_F_RECOMPUTE_CSUM);
	if (!load_header(skb, ETH_HLEN + IPV4_TTL_OFFSET, &head))
		return -1;
	sum = head.checksum + bpf_htons(0x0100);
	head.checksum = sum + (sum >> 16);
	head.ttl = hops;
	return bpf_skb_store_bytes(skb, ETH_HLEN + IPV4_TTL_OFFSET, &head, sizeof(head), 0);
}

/*
 * Routes a packet as the host's stack would, but past it. Besides the time that takes, netfilter would see one way only of
 * such connections, since what comes in goes past the stack as well, and may call half of their packets invalid. Returns
 * TC_ACT_UNSPEC for what the stack has to see to: there is no way, or the sender has to hear that the packet is too large
 * for it, or has come too far.
 */
OUT_OF_LINE int to_next_hop(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };
	struct bpf_redir_neigh hop = {};
	__u32 length = largest_packet(skb, packet);

	if (packet->hop_limit <= 1 || length > 0xffff)
		return TC_ACT_UNSPEC;
	ask_route(&route, packet);
	route.tot_len = length;
	if (bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH) != BPF_FIB_LKUP_RET_SUCCESS)
		return TC_ACT_UNSPEC;
	if (take_hop(skb, packet))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	/* The answer stands where the question stood: the next hop, or the destination itself. */
	hop.nh_family = route.family;
	__builtin_memcpy(hop.ipv6_nh, route.ipv6_dst, ADDR_BYTES);
	return bpf_redirect_neigh(route.ifindex, &hop, sizeof(hop), 0);
}
