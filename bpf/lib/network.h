/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Straight to the network, past the host's stack. */
#pragma once

#include "event.h"
#include "packet.h"

/* The families of the C library's <sys/socket.h>. */
#define NETWORK_AF_INET  2
#define NETWORK_AF_INET6 10

/*
 * Sends a packet on its way by the node's routing table and neighbours. For what the host's stack would refuse to forward: a
 * packet whose source is an address of this node. Returns a TC verdict.
 */
OUT_OF_LINE int to_network(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };
	long result;

	if (packet->family == FAMILY_IPV4) {
		route.family = NETWORK_AF_INET;
		route.ipv4_src = packet->flow.source.v4;
		route.ipv4_dst = packet->flow.destination.v4;
	} else {
		route.family = NETWORK_AF_INET6;
		__builtin_memcpy(route.ipv6_src, &packet->flow.source, ADDR_BYTES);
		__builtin_memcpy(route.ipv6_dst, &packet->flow.destination, ADDR_BYTES);
	}
	/* bpf_redirect_neigh asks the neighbour itself. */
	result = bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(skb, packet, DROP_FIB_LOOKUP, 0);
	return bpf_redirect_neigh(route.ifindex, NULL, 0, 0);
}
