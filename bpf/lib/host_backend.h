/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Clients from outside whose backend is a socket of this node: a pod with its network. The host's stack gets the packet with
 * the client's address, and what the socket answers comes from the frontend when it leaves by a device. Conntrack, where the
 * node has entries of its own, knows which frontend that is. The host firewall's are the same ones.
 */
#pragma once

#include "maps.h"
#include "packet.h"
#include "service.h"
#include "unjudged.h"

/* From now on what the node sends is looked at: it may be an answer. Nobody is where there never was such a client. */
ALWAYS_INLINE void await_host_answers(void)
{
	__u32 zero = 0, *awaited = bpf_map_lookup_elem(&weir_host_backends, &zero);

	if (awaited && !*awaited)
		*awaited = 1;
}

ALWAYS_INLINE bool awaits_host_answers(void)
{
	__u32 zero = 0, *awaited = bpf_map_lookup_elem(&weir_host_backends, &zero);

	return awaited && *awaited;
}

/* Remembers, without a host firewall, by which frontend a client's packet comes to a socket of this node. */
ALWAYS_INLINE void note_host_backend(struct __sk_buff *skb, struct packet *packet)
{
	if (!(packet->shape & (PACKET_UNTRACKED | PACKET_UNPLACED)))
		note_connection(skb, packet, 0);
}

/* Without a host firewall: finds out by which frontend a client came whom the node answers, or of whom it complains. */
OUT_OF_LINE int find_frontend_of_answer(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct ct_entry *entry;

	if (parse(skb, packet) != DROP_NONE || packet->shape & PACKET_UNPLACED)
		return 0;
	entry = packet->shape & PACKET_ICMP_ERROR ? ct_find_related(packet) : ct_find(packet);
	if (!entry || !entry->rev_nat || entry->direction == packet->direction)
		return 0;
	if (!(packet->shape & PACKET_UNTRACKED))
		ct_advance(entry, packet, CT_REPLY, skb->len);
	packet->rev_nat = entry->rev_nat;
	return 0;
}
