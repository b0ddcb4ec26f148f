/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sockets of this node, as packets find them. */
#pragma once

#include "packet.h"

ALWAYS_INLINE __u32 fill_tuple(struct bpf_sock_tuple *tuple, __u8 family, const struct flow *flow)
{
	if (family == FAMILY_IPV4) {
		tuple->ipv4.saddr = flow->source.v4;
		tuple->ipv4.daddr = flow->destination.v4;
		tuple->ipv4.sport = flow->source_port;
		tuple->ipv4.dport = flow->destination_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, &flow->source, ADDR_BYTES);
	__builtin_memcpy(tuple->ipv6.daddr, &flow->destination, ADDR_BYTES);
	tuple->ipv6.sport = flow->source_port;
	tuple->ipv6.dport = flow->destination_port;
	return sizeof(tuple->ipv6);
}

/* Whether a socket of this node would get what travels as `flow`. */
ALWAYS_INLINE bool has_socket(struct __sk_buff *skb, __u8 family, const struct flow *flow)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_tuple(&tuple, family, flow);
	struct bpf_sock *sk = NULL;

	if (flow->protocol == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (flow->protocol == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}
