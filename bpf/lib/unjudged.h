/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connections that no policy is asked about, but whose answers have to be known. */
#pragma once

#include "conntrack.h"
#include "packet.h"
#include "scratch.h"

/* Tracks the packet's connection, with `flags` (enum ct_flags) if it is new, and the frontend that it came by. */
OUT_OF_LINE int note_connection(struct __sk_buff *skb, struct packet *packet NONNULL, __u8 flags)
{
	struct ct_entry *entry = ct_find(packet);
	struct scratch *slot = scratch();

	if (entry && !(opens_tcp(packet) && ct_is_closing(entry->flags))) {
		bool forward = packet->direction == entry->direction;

		if (forward && entry->rev_nat != packet->frontend)
			entry->rev_nat = packet->frontend;
		ct_advance(entry, packet, forward ? CT_FORWARD : CT_REPLY, skb->len);
		return 0;
	}
	if (!slot)
		return 0;
	entry = &slot->connection;
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->judged = CT_ALLOWED;
	entry->packets[CT_FORWARD] = 1;
	entry->bytes[CT_FORWARD] = skb->len;
	entry->policy_port = packet->policy_port;
	entry->rev_nat = packet->frontend;
	entry->direction = packet->direction;
	entry->flags = flags | tcp_marks(packet, CT_FORWARD);
	ct_prolong(entry, packet->flow.protocol, entry->flags);
	ct_insert(packet->family, &packet->flow, packet->direction, entry);
	return 0;
}
