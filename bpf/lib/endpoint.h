/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The node's own endpoints: which address is whose, and the way to them. */
#pragma once

#include "event.h"
#include "maps.h"
#include "packet.h"

ALWAYS_INLINE const struct endpoint_info *local_endpoint(__u8 family, const union addr *address)
{
	struct endpoint_key key BY_WORDS = { .family = family };

	__builtin_memcpy(key.addr, address, ADDR_BYTES);
	return bpf_map_lookup_elem(&weir_lxc, &key);
}

ALWAYS_INLINE bool is_pod(const struct endpoint_info *endpoint)
{
	return endpoint && !(endpoint->flags & ENDPOINT_HOST);
}

/* Id of the local pod at an address; 0 when there is none. */
ALWAYS_INLINE __u16 endpoint_at(__u8 family, const union addr *address)
{
	const struct endpoint_info *endpoint = local_endpoint(family, address);

	return is_pod(endpoint) ? endpoint->id : 0;
}

/*
 * Hands the packet to the destination endpoint's own program, which asks its ingress policy and delivers. What is known of
 * the source travels in skb->cb, which a tail call leaves alone. Comes back only when there is no such program: an endpoint
 * that is not enforced yet, or no longer, gets nothing.
 */
ALWAYS_INLINE int call_ingress_policy(struct __sk_buff *skb, struct packet *packet, __u16 endpoint, __u32 source_identity)
{
	skb->cb[CB_SOURCE_IDENTITY] = source_identity;
	/* What a pod's own program translated, that program brings back. */
	skb->cb[CB_FRONTEND] = packet->hook == HOOK_FROM_CONTAINER ? 0 : packet->frontend;
	bpf_tail_call(skb, &weir_call_policy, endpoint);
	return drop(skb, packet, DROP_ENDPOINT_NOT_READY, 0);
}

/* Asks the policy of the node about what a pod sends to it. Comes back when there is no host firewall. */
ALWAYS_INLINE void call_host_policy(struct __sk_buff *skb, __u32 source_identity)
{
	skb->cb[CB_SOURCE_IDENTITY] = source_identity;
	bpf_tail_call(skb, &weir_call_policy, HOST_ENDPOINT);
}
