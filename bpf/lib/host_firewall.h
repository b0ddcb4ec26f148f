/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The node as an endpoint: its policy judges what the node's devices bring for it, and what it sends by them. What the node
 * forwards is not its own: pods have policies of their own, and the packets of a tunnel are judged when they are out.
 */
#pragma once

#include "config_host.h"
#include "judge.h"
#include "link_control.h"
#include "overlay.h"
#include "parse.h"
#include "unjudged.h"

#define AF_INET  2
#define AF_INET6 10

/* A node that cannot renew its lease loses its address, whatever its policy had in mind (RFC 2131, RFC 8415). */
ALWAYS_INLINE bool is_dhcp(const struct packet *packet)
{
	__u16 from = bpf_ntohs(packet->flow.source_port), to = bpf_ntohs(packet->flow.destination_port);

	if (packet->flow.protocol != IPPROTO_UDP)
		return false;
	if (packet->family == FAMILY_IPV4)
		return (from == 67 && to == 68) || (from == 68 && to == 67);
	return (from == 546 && to == 547) || (from == 547 && to == 546);
}

/* 224.0.0.0/4, the limited broadcast and ff00::/8: whoever listens has joined on purpose. */
ALWAYS_INLINE bool is_multicast(__u8 family, const union addr *address)
{
	return stays_on_link(family, address) && (family == FAMILY_IPV4 || address->bytes[0] == 0xff);
}

/* What no policy of the node is asked about. */
ALWAYS_INLINE bool is_exempt(const struct packet *packet)
{
	return is_link_control(packet) || is_dhcp(packet) || is_tunnel(packet);
}

/* Whether the node would forward it. Only the routing table knows an address that the agent has not seen yet. */
ALWAYS_INLINE bool is_routed_on(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex, .l4_protocol = packet->flow.protocol };

	if (packet->family == FAMILY_IPV4) {
		route.family = AF_INET;
		route.ipv4_src = packet->flow.source.v4;
		route.ipv4_dst = packet->flow.destination.v4;
	} else {
		route.family = AF_INET6;
		__builtin_memcpy(route.ipv6_src, &packet->flow.source, ADDR_BYTES);
		__builtin_memcpy(route.ipv6_dst, &packet->flow.destination, ADDR_BYTES);
	}
	switch (bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH)) {
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return false;
	default:
		return true;
	}
}

/* Asks the policy of the node. Returns TCX_NEXT when the packet may pass. */
OUT_OF_LINE int judge_host(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	bool remarkable = false;
	int reason;

	packet->endpoint = endpoint_id;
	reason = judge(skb, packet, false, &remarkable);
	/* No proxy speaks for the node. */
	if (reason == DROP_NONE && packet->proxy_port)
		reason = DROP_NO_PROXY;
	if (reason)
		return drop(skb, packet, reason, packet->cookie);
	if (packet->direction == DIRECTION_INGRESS)
		forwarded(skb, packet, TRACE_TO_STACK, remarkable);
	return TCX_NEXT;
}

/* A packet that a device brought and that is for no pod. */
ALWAYS_INLINE int host_ingress(struct __sk_buff *skb, struct packet *packet)
{
	int reason;

	if (is_multicast(packet->family, &packet->flow.destination))
		return TCX_NEXT;
	if (!is_host_address(packet->family, &packet->flow.destination) && is_routed_on(skb, packet))
		return TCX_NEXT;
	reason = parse(skb, packet);
	if (reason)
		return drop(skb, packet, reason, 0);
	packet->origin = ORIGIN_NETWORK;
	return is_exempt(packet) ? TCX_NEXT : judge_host(skb, packet);
}

/*
 * A packet that leaves by a device. It is the node's own when no device brought it here: an address does not tell, for
 * forwarded packets may bear the node's, nor does a socket, which packets of pods keep when they are only redirected.
 */
ALWAYS_INLINE int host_egress(struct __sk_buff *skb, struct packet *packet)
{
	bool own = !skb->ingress_ifindex;
	int reason;

	if (!own) {
		if (parse_addresses(skb, packet) || !is_host_address(packet->family, &packet->flow.source))
			return TCX_NEXT;
	}
	reason = parse(skb, packet);
	if (reason)
		return own ? drop(skb, packet, reason, 0) : TCX_NEXT;
	if (is_exempt(packet))
		return TCX_NEXT;
	if (own) {
		/* Pods' packets are theirs whoever sends them: a proxy does in their name. */
		if (is_multicast(packet->family, &packet->flow.destination) ||
		    is_pod(local_endpoint(packet->family, &packet->flow.source)))
			return TCX_NEXT;
		return judge_host(skb, packet);
	}
	/* Its replies are let in: they will look as if they were for the node. */
	if (!(packet->shape & (PACKET_UNTRACKED | PACKET_UNPLACED)))
		note_connection(skb, packet, CT_FORWARDED);
	return TCX_NEXT;
}
