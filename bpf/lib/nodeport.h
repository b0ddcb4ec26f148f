/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services for clients from outside of the node: node ports, external addresses, load balancers' addresses. What the network
 * sends to one of them goes to a backend. A pod of this node gets it with the client's address; its own program lets the
 * answers come from the frontend (CB_FRONTEND). What is for a socket of this node is for the host from then on
 * (host_backend.h). What goes to another node goes under this node's address (lb_snat.h).
 */
#pragma once

#include "endpoint.h"
#include "event.h"
#include "host_backend.h"
#include "icmp_error.h"
#include "identity.h"
#include "lb_snat.h"
#include "masquerade.h"
#include "maps.h"
#include "overlay.h"
#include "packet.h"
#include "service.h"

/* Not this packet's business. */
#define NOT_A_SERVICE TCX_NEXT

ALWAYS_INLINE bool is_in_source_ranges(const struct packet *packet, __u16 service)
{
	struct lb_source_key key BY_WORDS = {
		.prefixlen = LB_SOURCE_STATIC_BITS + (packet->family == FAMILY_IPV4 ? 32 : 128),
		.service = service,
		.family = packet->family,
	};

	__builtin_memcpy(key.addr, &packet->flow.source, ADDR_BYTES);
	return bpf_map_lookup_elem(&weir_lb_source_ranges, &key);
}

/* Back out of the device that it came from. */
ALWAYS_INLINE int reject_from_outside(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 macs[2 * MAC_BYTES];

	drop(skb, packet, DROP_NO_SERVICE, 0);
	if (!reject_without_backend || answer_port_unreachable(skb, packet) != DROP_NONE ||
	    !load(skb, 0, macs, sizeof(macs)))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, 0, macs + MAC_BYTES, MAC_BYTES, 0) ||
	    bpf_skb_store_bytes(skb, MAC_BYTES, macs, MAC_BYTES, 0))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/*
 * A TC verdict for a packet from the network that goes to a frontend; NOT_A_SERVICE for all others, which it leaves alone,
 * and for one that has become the host's: packet->frontend tells. The packet has been parsed.
 */
OUT_OF_LINE int service_from_outside(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	const struct endpoint_info *local;
	struct lb_service_key key BY_WORDS;
	const struct lb_service *service;
	const struct lb_socket *backend;
	int reason;

	/* What cannot be parsed is not for a service, and the host's to refuse. */
	if (is_of_no_link(packet->family, &packet->flow.destination))
		return NOT_A_SERVICE;
	frontend_key(packet, &key);
	__builtin_memcpy(key.addr, &packet->flow.destination, ADDR_BYTES);
	service = bpf_map_lookup_elem(&weir_lb_services, &key);
	if (!service)
		return NOT_A_SERVICE;
	packet->peer_identity = identity_of_source(packet->family, &packet->flow.source);
	/* This node's pods are not out there, and those of other nodes come through the tunnel. */
	if (is_pod(local_endpoint(packet->family, &packet->flow.source)) ||
	    (tunnel && tunnel_to_endpoint(packet->family, &packet->flow.source)))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	if (service->kind == LB_CLUSTER_IP && !external_cluster_ip)
		return drop(skb, packet, DROP_IS_CLUSTER_IP, 0);
	if (service->flags & LB_SOURCE_RANGES && !is_in_source_ranges(packet, service->id))
		return drop(skb, packet, DROP_NOT_IN_SOURCE_RANGE, 0);
	if (service->flags & LB_TWO_SCOPES) {
		key.scope = LB_SCOPE_EXTERNAL;
		service = bpf_map_lookup_elem(&weir_lb_services, &key);
		if (!service)
			return drop(skb, packet, DROP_NO_SERVICE, 0);
	}
	backend = backend_for(packet, &key, service);
	if (!backend)
		return reject_from_outside(skb, packet);
	reason = readdress(skb, packet, backend, service->id);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	local = local_endpoint(packet->family, &packet->flow.destination);
	if (!is_pod(local) && is_host_address(packet->family, &packet->flow.destination)) {
		await_host_answers();
		return NOT_A_SERVICE;
	}
	if (!is_pod(local))
		return to_remote_backend(skb, packet);
	forwarded(skb, packet, TRACE_FROM_NETWORK, false);
	return call_ingress_policy(skb, packet, local->id, packet->peer_identity);
}

/*
 * A TC verdict for an ICMP error about what a frontend answered a client from outside, which goes to the backend, about what
 * that sent; NOT_A_SERVICE for all others, and for what has become the host's. The packet has been parsed.
 */
OUT_OF_LINE int error_about_answer(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	const struct flow *answer = &packet->inner;
	struct lb_flow_key flow BY_WORDS = { .client_port = answer->destination_port };
	const struct lb_service *service;
	const struct endpoint_info *local;
	const struct lb_socket *backend;
	struct lb_service_key key BY_WORDS = {
		.port = answer->source_port,
		.protocol = answer->protocol,
		.family = packet->family,
		.scope = LB_SCOPE_INTERNAL,
	};
	struct lb_socket to BY_WORDS;
	union addr address;
	int reason;

	__builtin_memcpy(key.addr, &answer->source, ADDR_BYTES);
	service = bpf_map_lookup_elem(&weir_lb_services, &key);
	if (!service)
		return NOT_A_SERVICE;
	flow.service = service->id;
	__builtin_memcpy(flow.client, &answer->destination, ADDR_BYTES);
	backend = kept_backend(&flow, false);
	if (!backend || backend->family != packet->family)
		return NOT_A_SERVICE;
	to = *backend;
	__builtin_memcpy(&address, to.addr, ADDR_BYTES);
	local = local_endpoint(packet->family, &address);
	if (!is_pod(local) && !is_host_address(packet->family, &address))
		return error_to_remote_backend(skb, packet, &to, service->id);
	reason = rewrite_quote(skb, packet, &to, END_SOURCE);
	/* ICMP has no ports. */
	to.port = 0;
	if (reason == DROP_NONE)
		reason = rewrite_end(skb, packet, &to, END_DESTINATION);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	packet->flow.destination = address;
	if (!is_pod(local))
		return NOT_A_SERVICE;
	packet->peer_identity = identity_of_source(packet->family, &packet->flow.source);
	forwarded(skb, packet, TRACE_FROM_NETWORK, false);
	return call_ingress_policy(skb, packet, local->id, packet->peer_identity);
}

/*
 * A TC verdict for a packet that the network sent to an address which is no pod's: an answer to what went on under this node's
 * address, or for a frontend. NOT_A_SERVICE for all others, which it leaves alone.
 */
ALWAYS_INLINE int translated(struct __sk_buff *skb, struct packet *packet)
{
	int verdict, reason = NOT_MASQUERADED;

	/* What cannot be parsed is nobody's answer and for no service: the host's to refuse. */
	if (parse(skb, packet) != DROP_NONE)
		return NOT_A_SERVICE;
	/* The tunnel's own device takes out what is in it, whatever service may have its port. */
	if (is_tunnel(packet) && is_host_address(packet->family, &packet->flow.destination))
		return NOT_A_SERVICE;
	/* Pods of other nodes answer through the tunnel, if there is one. */
	if (!tunnel || !tunnel_to_endpoint(packet->family, &packet->flow.source)) {
		verdict = answer_of_remote_backend(skb, packet);
		if (verdict != TCX_NEXT)
			return verdict;
		if (masquerades(packet->family))
			reason = answer_of_world(skb, packet);
	}
	if (reason == DROP_NONE) {
		packet->peer_identity = identity_of_source(packet->family, &packet->flow.source);
		forwarded(skb, packet, TRACE_FROM_NETWORK, false);
		return call_ingress_policy(skb, packet, packet->peer_endpoint, packet->peer_identity);
	}
	if (reason != NOT_MASQUERADED)
		return drop(skb, packet, reason, 0);
	if (packet->shape & PACKET_ICMP_ERROR)
		return error_about_answer(skb, packet);
	return service_from_outside(skb, packet);
}
