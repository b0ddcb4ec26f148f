/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Clients from outside whose backend is on another node: the packet goes on under this node's address, so that the answer
 * comes back here, to be given to the client in the frontend's name. The backend sees the node, not the client.
 *
 * Ports are taken from above those that the node's own sockets get by themselves (ip_local_port_range ends at 60999).
 */
#pragma once

#include "event.h"
#include "maps.h"
#include "network.h"
#include "overlay.h"
#include "packet.h"
#include "service.h"

#define LB_SNAT_TRIES 12

ALWAYS_INLINE bool is_snat_port(__be16 port)
{
	return bpf_ntohs(port) >= LB_SNAT_FIRST_PORT;
}

ALWAYS_INLINE bool is_snat_of(const struct lb_snat *known, const struct lb_snat *client)
{
	union addr a, b;

	__builtin_memcpy(&a, known->client, ADDR_BYTES);
	__builtin_memcpy(&b, client->client, ADDR_BYTES);
	return same_address(&a, &b) && known->client_port == client->client_port && known->service == client->service;
}

/* The port under which a client's connection to a backend goes on: the one it has, or a new one; 0 when none is free. */
OUT_OF_LINE int take_snat_port(const struct packet *packet NONNULL)
{
	struct lb_snat_key key BY_WORDS = {
		.backend_port = packet->flow.destination_port,
		.protocol = packet->flow.protocol,
		.family = packet->family,
	};
	struct lb_flow_key flow BY_WORDS = { .client_port = packet->flow.source_port, .service = packet->frontend };
	struct lb_snat client BY_WORDS = { .client_port = packet->flow.source_port, .service = packet->frontend };
	const struct lb_snat *other;
	__u32 *known, port;

	__builtin_memcpy(key.backend, &packet->flow.destination, ADDR_BYTES);
	__builtin_memcpy(flow.client, &packet->flow.source, ADDR_BYTES);
	__builtin_memcpy(client.client, &packet->flow.source, ADDR_BYTES);
	known = bpf_map_lookup_elem(&weir_lb_snat_ports, &flow);
	if (known) {
		key.port = bpf_htons(*known);
		other = bpf_map_lookup_elem(&weir_lb_snat, &key);
		if (other && is_snat_of(other, &client))
			return *known;
	}
	for (int i = 0; i < LB_SNAT_TRIES; i++) {
		port = LB_SNAT_FIRST_PORT + bpf_get_prandom_u32() % (65536 - LB_SNAT_FIRST_PORT);
		key.port = bpf_htons(port);
		if (bpf_map_update_elem(&weir_lb_snat, &key, &client, BPF_NOEXIST))
			continue;
		bpf_map_update_elem(&weir_lb_snat_ports, &flow, &port, BPF_ANY);
		return port;
	}
	return 0;
}

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
	int reason, port;

	if (tunnel)
		node = tunnel_to_endpoint(packet->family, &packet->flow.destination);
	if (node ? !router_address(packet->family, &from) : !address_towards(skb, packet, &from, &ifindex))
		return drop(skb, packet, DROP_FIB_LOOKUP, 0);
	port = take_snat_port(packet);
	if (!port)
		return drop(skb, packet, DROP_NO_MAPPING, 0);
	from.port = bpf_htons(port);
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

/*
 * Gives what a backend of another node answers to the client that it is for. Returns a TC verdict, or TCX_NEXT when it is no
 * such answer. The packet has been parsed.
 */
OUT_OF_LINE int answer_of_remote_backend(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_snat_key key BY_WORDS = {
		.backend_port = packet->flow.source_port,
		.port = packet->flow.destination_port,
		.protocol = packet->flow.protocol,
		.family = packet->family,
	};
	struct lb_socket client BY_WORDS = { .family = packet->family };
	const struct lb_snat *known;
	int reason;

	if (!is_snat_port(packet->flow.destination_port))
		return TCX_NEXT;
	__builtin_memcpy(key.backend, &packet->flow.source, ADDR_BYTES);
	known = bpf_map_lookup_elem(&weir_lb_snat, &key);
	if (!known)
		return TCX_NEXT;
	packet->rev_nat = known->service;
	client.port = known->client_port;
	__builtin_memcpy(client.addr, known->client, ADDR_BYTES);
	reason = rewrite_end(skb, packet, &client, END_DESTINATION);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	__builtin_memcpy(&packet->flow.destination, client.addr, ADDR_BYTES);
	packet->flow.destination_port = client.port;
	reason = from_frontend(skb, packet);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	forwarded(skb, packet, TRACE_TO_NETWORK, false);
	return to_network(skb, packet);
}
