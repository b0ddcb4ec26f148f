/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Pods that speak to the world under the node's address. What a pod sends is judged, conntrack included, under its own
 * address; on its way out of a device it gets the address that the node itself would use there (nat.h has the ports). Answers
 * get the pod's address back before anything is asked about them, and what the network says in ICMP about such packets, and
 * pods about the answers, is about the right ones on both sides.
 *
 * from_container marks what may be for the world (MARK_TO_WORLD), so that all else passes the device untouched.
 */
#pragma once

#include "config_masquerade.h"
#include "endpoint.h"
#include "event.h"
#include "identity.h"
#include "mark.h"
#include "nat.h"
#include "network.h"
#include "parse.h"
#include "service.h"

/* A packet of a pod of this node that may have to leave under the node's address. Reads its addresses, and whose it is. */
ALWAYS_INLINE bool is_pods_to_world(struct __sk_buff *skb, struct packet *packet)
{
	const struct endpoint_info *local;

	/* A mark is true of what a pod's link brought: nobody in a pod can set it, but whoever routes here can. */
	if (!has_mark(skb->mark, MARK_TO_WORLD) || !skb->ingress_ifindex || parse_addresses(skb, packet))
		return false;
	local = local_endpoint(packet->family, &packet->flow.source);
	if (!is_pod(local) || local->ifindex != skb->ingress_ifindex)
		return false;
	packet->endpoint = local->id;
	packet->identity = local->identity;
	return true;
}

/* Whether an address is outside of the cluster, and of all that pods reach under their own addresses. */
ALWAYS_INLINE bool is_masqueraded_for(__u8 family, const union addr *address)
{
	struct ipcache_key key BY_WORDS = { .prefixlen = IPCACHE_FULL_PREFIX(family), .family = family };

	if (!masquerades(family) || !may_be_outside(identity_of_destination(family, address)))
		return false;
	__builtin_memcpy(key.addr, address, ADDR_BYTES);
	return !bpf_map_lookup_elem(&weir_non_masquerade, &key);
}

/* Whether the packet can begin a connection whose answers are told from others by a port, or an identifier. */
ALWAYS_INLINE bool has_own_port(const struct packet *packet)
{
	switch (packet->flow.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		return true;
	case IPPROTO_ICMP:
		return packet->icmp_type == ICMP_ECHO;
	case IPPROTO_ICMPV6:
		return packet->icmp_type == ICMPV6_ECHO_REQUEST;
	default:
		return false;
	}
}

/* The address that the node itself would send from to where the packet goes, by the device that it leaves by. */
ALWAYS_INLINE bool own_address(struct __sk_buff *skb, const struct packet *packet, struct lb_socket *from)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };
	__u32 flags = BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SRC | BPF_FIB_LOOKUP_SKIP_NEIGH;

	if (packet->family == FAMILY_IPV4) {
		route.family = NETWORK_AF_INET;
		route.ipv4_dst = packet->flow.destination.v4;
	} else {
		route.family = NETWORK_AF_INET6;
		__builtin_memcpy(route.ipv6_dst, &packet->flow.destination, ADDR_BYTES);
	}
	if (bpf_fib_lookup(skb, &route, sizeof(route), flags) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	if (packet->family == FAMILY_IPV4)
		__builtin_memcpy(from->addr, &route.ipv4_src, sizeof(ipv4));
	else
		__builtin_memcpy(from->addr, route.ipv6_src, ADDR_BYTES);
	return true;
}

/* What a pod says in ICMP about an answer is about what came here, and comes from here. */
OUT_OF_LINE int masquerade_error(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_socket to BY_WORDS = {};
	struct nat_key key BY_WORDS;
	struct flow sent BY_WORDS = {
		.source = packet->inner.destination,
		.destination = packet->inner.source,
		.source_port = packet->inner.destination_port,
		.destination_port = packet->inner.source_port,
		.protocol = packet->inner.protocol,
	};
	const struct ct_entry *entry;
	int reason;

	nat_out_key(&key, packet->family, &sent, 0);
	if (!nat_origin(&key, &to)) {
		entry = ct_find_related(packet);
		/* About what came to the pod's own address, or stays among those who know that. */
		if ((entry && entry->direction == DIRECTION_INGRESS) ||
		    !is_masqueraded_for(packet->family, &packet->flow.destination))
			return DROP_NONE;
		return DROP_NO_MAPPING;
	}
	reason = rewrite_quote(skb, packet, &to, END_DESTINATION);
	to.port = 0;
	return reason != DROP_NONE ? reason : rewrite_end(skb, packet, &to, END_SOURCE);
}

/* Gives a pod's packet to the world the node's address. Returns why it may not leave, or DROP_NONE. */
OUT_OF_LINE int masquerade(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_socket from BY_WORDS = { .family = packet->family };
	int reason = parse(skb, packet);

	if (reason != DROP_NONE)
		return reason;
	if (packet->shape & PACKET_ICMP_ERROR)
		return masquerade_error(skb, packet);
	if (!nat_find(packet, 0, &from)) {
		if (!is_masqueraded_for(packet->family, &packet->flow.destination))
			return DROP_NONE;
		/* A fragment that came before its first one: nobody knows its connection. */
		if (packet->shape & PACKET_UNPLACED)
			return DROP_FRAGMENT;
		if (!has_own_port(packet))
			return DROP_UNKNOWN_L4;
		if (!own_address(skb, packet, &from))
			return DROP_FIB_LOOKUP;
		if (!nat_take(skb, packet, 0, &from))
			return DROP_NO_MAPPING;
	}
	return rewrite_end(skb, packet, &from, END_SOURCE);
}

/* Gives an answer, or an error about what a pod sent, the address of the pod, packet->peer_endpoint from then on. */
OUT_OF_LINE int unmasquerade(struct __sk_buff *skb, struct packet *packet NONNULL, const struct nat_entry *client NONNULL)
{
	struct lb_socket to BY_WORDS = { .port = client->port, .family = packet->family };
	const struct endpoint_info *local;
	union addr pod;
	int reason = DROP_NONE;

	__builtin_memcpy(to.addr, client->addr, ADDR_BYTES);
	__builtin_memcpy(&pod, client->addr, ADDR_BYTES);
	local = local_endpoint(packet->family, &pod);
	if (!is_pod(local))
		return DROP_NO_LOCAL_ENDPOINT;
	packet->peer_endpoint = local->id;
	if (packet->shape & PACKET_ICMP_ERROR) {
		reason = rewrite_quote(skb, packet, &to, END_SOURCE);
		to.port = 0;
	}
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &to, END_DESTINATION);
	packet->flow.destination = pod;
	packet->flow.destination_port = to.port;
	return reason;
}

#define NOT_MASQUERADED (-1)

/*
 * Makes an answer from the world one to the pod that it is for. Returns DROP_NONE, why it may not come in, or NOT_MASQUERADED.
 * The packet has been parsed. The tail call is the caller's: none may come from too deep a stack.
 */
OUT_OF_LINE int answer_of_world(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct nat_entry client BY_WORDS;
	struct nat_key key BY_WORDS;
	struct nat_entry *in = nat_owner(packet, &key);

	if (!in || in->service)
		return NOT_MASQUERADED;
	client = *in;
	if (!(packet->shape & PACKET_ICMP_ERROR))
		nat_answered(packet, &key, in);
	return unmasquerade(skb, packet, &client);
}
