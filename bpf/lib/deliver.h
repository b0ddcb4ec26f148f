/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a packet goes when it may go. */
#pragma once

#include "event.h"
#include "maps.h"
#include "packet.h"

ALWAYS_INLINE const struct endpoint_info *local_endpoint(__u8 family, const union addr *address)
{
	struct endpoint_key key = { .family = family };

	__builtin_memcpy(key.addr, address, ADDR_BYTES);
	return bpf_map_lookup_elem(&weir_lxc, &key);
}

/*
 * Hands the packet to the destination endpoint's own program, which asks its ingress policy and delivers. What is known of
 * the source travels in skb->cb, which a tail call leaves alone. Comes back only when there is no such program: an endpoint
 * that is not enforced yet, or no longer, gets nothing.
 */
ALWAYS_INLINE int call_ingress_policy(struct __sk_buff *skb, struct packet *packet, const struct endpoint_info *endpoint,
				      __u32 source_identity)
{
	skb->cb[CB_SOURCE_IDENTITY] = source_identity;
	bpf_tail_call(skb, &weir_call_policy, endpoint->id);
	return drop(skb, packet, DROP_ENDPOINT_NOT_READY, 0);
}
