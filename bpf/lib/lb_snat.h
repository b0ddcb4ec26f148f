/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Clients from outside whose backend is on another node: the packet goes on under this node's address, so that the answer
 * comes back here, to be given to the client in the frontend's name. The backend sees the node, not the client.
 */
#pragma once

#include "event.h"
#include "maps.h"
#include "nat.h"
#include "network.h"
#include "overlay.h"
#include "packet.h"
#include "service.h"

/* This node's address towards pods, which other nodes know as a node's. */
ALWAYS_INLINE bool router_address(__u8 family, struct lb_socket *to)
{
	__u32 zero = 0;
	const struct node_config *node = bpf_map_lookup_elem(&weir_node_config, &zero);

	if (!node)
		return false;
	if (family == FAMILY_IPV4)
		__builtin_memcpy(to->addr, node->router_ipv4, sizeof(node->router_ipv4));
	else
		__builtin_memcpy(to->addr, node->router_ipv6, ADDR_BYTES);
	return true;
}

/* This node's address on the way to a backend, and the device that leads there. */
ALWAYS_INLINE bool address_towards(struct __sk_buff *skb, const struct packet *packet, struct lb_socket *from, __u32 *ifindex)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };

	if (packet->family == FAMILY_IPV4) {
		route.family = NETWORK_AF_INET;
		route.ipv4_dst = packet->flow.destination.v4;
	} else {
		route.family = NETWORK_AF_INET6;
		__builtin_memcpy(route.ipv6_dst, &packet->flow.destination, ADDR_BYTES);
	}
	if (bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC))
		return false;
	if (packet->family == FAMILY_IPV4)
		__builtin_memcpy(from->addr, &route.ipv4_src, sizeof(ipv4));
	else
		__builtin_memcpy(from->addr, route.ipv6_src, ADDR_BYTES);
	*ifindex = route.ifindex;
	return true;
}

/* Sends a packet that has become one to a backend on another node there. Returns a TC verdict. */
OUT_OF_LINE int to_remote_backend(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	const struct node_address *node = NULL;
	struct lb_socket from BY_WORDS = { .family = packet->family };
	__u32 ifindex = 0;
	int reason;

	if (is_tunnel(packet))
		return drop(skb, packet, DROP_TUNNEL_PEER, 0);
	if (tunnel)
		node = tunnel_to_endpoint(packet->family, &packet->flow.destination);
	if (node ? !router_address(packet->family, &from) : !address_towards(skb, packet, &from, &ifindex))
		return drop(skb, packet, DROP_FIB_LOOKUP, 0);
	if (!nat_find(packet, packet->frontend, &from) && !nat_take(skb, packet, packet->frontend, &from))
		return drop(skb, packet, DROP_NO_MAPPING, 0);
	reason = rewrite_end(skb, packet, &from, END_SOURCE);
	if (reason == DROP_NONE && node)
		reason = set_tunnel(skb, node, IDENTITY_HOST);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	__builtin_memcpy(&packet->flow.source, from.addr, ADDR_BYTES);
	packet->flow.source_port = from.port;
	forwarded(skb, packet, node ? TRACE_TO_OVERLAY : TRACE_TO_NETWORK, false);
	return node ? bpf_redirect(tunnel_ifindex, 0) : bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* Gives what a backend of another node answers to the client that it is for. Returns a TC verdict. */
OUT_OF_LINE int to_client(struct __sk_buff *skb, struct packet *packet NONNULL, const struct nat_entry *client NONNULL)
{
	struct lb_socket to BY_WORDS = { .port = client->port, .family = packet->family };
	int reason;

	packet->rev_nat = client->service;
	__builtin_memcpy(to.addr, client->addr, ADDR_BYTES);
	reason = rewrite_end(skb, packet, &to, END_DESTINATION);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	__builtin_memcpy(&packet->flow.destination, to.addr, ADDR_BYTES);
	packet->flow.destination_port = to.port;
	reason = from_frontend(skb, packet);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	forwarded(skb, packet, TRACE_TO_NETWORK, false);
	return to_network(skb, packet);
}

/*
 * What the way to a backend of another node says of a client's packet is, to the client, about what it sent to the frontend,
 * and comes from there: addresses behind it are none of the client's. Returns a TC verdict.
 */
OUT_OF_LINE int error_to_client(struct __sk_buff *skb, struct packet *packet NONNULL, const struct nat_entry *client NONNULL)
{
	struct lb_socket end BY_WORDS = { .port = client->port, .family = packet->family };
	struct lb_socket frontend BY_WORDS;
	int reason;

	packet->rev_nat = client->service;
	if (!known_frontend(packet, &frontend))
		return drop(skb, packet, DROP_NO_SERVICE, 0);
	__builtin_memcpy(end.addr, client->addr, ADDR_BYTES);
	reason = rewrite_quote(skb, packet, &frontend, END_DESTINATION);
	if (reason == DROP_NONE)
		reason = rewrite_quote(skb, packet, &end, END_SOURCE);
	/* ICMP has no ports. */
	frontend.port = end.port = 0;
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &frontend, END_SOURCE);
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &end, END_DESTINATION);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	__builtin_memcpy(&packet->flow.source, frontend.addr, ADDR_BYTES);
	__builtin_memcpy(&packet->flow.destination, end.addr, ADDR_BYTES);
	forwarded(skb, packet, TRACE_TO_NETWORK, false);
	return to_network(skb, packet);
}

/*
 * What the way to a client says of an answer is, to the backend on another node, about what it sent to this node. The
 * answer's client is packet->inner's destination. Returns a TC verdict; TCX_NEXT when there is no such connection.
 */
OUT_OF_LINE int error_to_remote_backend(struct __sk_buff *skb, struct packet *packet NONNULL,
					const struct lb_socket *backend NONNULL, __u16 service)
{
	const struct node_address *node = NULL;
	struct lb_socket to BY_WORDS = *backend, from BY_WORDS = {};
	struct nat_key key BY_WORDS = {
		.remote_port = backend->port,
		.local_port = packet->inner.destination_port,
		.service = service,
		.protocol = packet->inner.protocol,
		.family = packet->family,
		.way = NAT_OUT,
	};
	int reason;

	__builtin_memcpy(key.remote, backend->addr, ADDR_BYTES);
	__builtin_memcpy(key.local, &packet->inner.destination, ADDR_BYTES);
	if (!nat_origin(&key, &from))
		return TCX_NEXT;
	reason = rewrite_quote(skb, packet, &to, END_SOURCE);
	if (reason == DROP_NONE)
		reason = rewrite_quote(skb, packet, &from, END_DESTINATION);
	/* ICMP has no ports. */
	from.port = to.port = 0;
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &from, END_SOURCE);
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &to, END_DESTINATION);
	__builtin_memcpy(&packet->flow.source, from.addr, ADDR_BYTES);
	__builtin_memcpy(&packet->flow.destination, to.addr, ADDR_BYTES);
	if (tunnel)
		node = tunnel_to_endpoint(packet->family, &packet->flow.destination);
	if (reason == DROP_NONE && node)
		reason = set_tunnel(skb, node, IDENTITY_HOST);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	forwarded(skb, packet, node ? TRACE_TO_OVERLAY : TRACE_TO_NETWORK, false);
	return node ? bpf_redirect(tunnel_ifindex, 0) : to_network(skb, packet);
}

/* What a backend of another node answers, for its client. TCX_NEXT when the packet, which has been parsed, is none such. */
OUT_OF_LINE int answer_of_remote_backend(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct nat_entry client BY_WORDS;
	struct nat_key key BY_WORDS;
	struct nat_entry *in = nat_owner(packet, &key);

	if (!in || !in->service)
		return TCX_NEXT;
	client = *in;
	if (packet->shape & PACKET_ICMP_ERROR)
		return error_to_client(skb, packet, &client);
	nat_answered(packet, &key, in);
	return to_client(skb, packet, &client);
}
