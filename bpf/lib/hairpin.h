/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A pod that reaches itself through its own service. Its kernel refuses packets that come from its own address, so they come
 * from one that nobody has, and its answers to that address come back from the service. Nobody's policy is asked: a pod may
 * speak to itself.
 */
#pragma once

#include "conntrack.h"
#include "event.h"
#include "neighbour.h"
#include "scratch.h"
#include "service.h"

/* 169.254.42.1, as Cilium has it; and 100::a9fe:2a01, of the prefix that leads nowhere (RFC 6666). */
ALWAYS_INLINE void hairpin_address(__u8 family, union addr *address)
{
	__builtin_memset(address, 0, sizeof(*address));
	if (family == FAMILY_IPV4) {
		address->v4 = bpf_htonl(0xa9fe2a01);
	} else {
		address->words[0] = bpf_htonl(0x01000000);
		address->words[3] = bpf_htonl(0xa9fe2a01);
	}
}

ALWAYS_INLINE bool is_hairpin_address(__u8 family, const union addr *address)
{
	union addr own;

	hairpin_address(family, &own);
	return same_address(address, &own);
}

/* Back into the pod that it came from. */
ALWAYS_INLINE int return_to_pod(struct __sk_buff *skb, const struct packet *packet)
{
	if (write_link_addresses(skb, &endpoint_mac, &host_mac))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	forwarded(skb, packet, TRACE_TO_ENDPOINT, false);
	return bpf_redirect_peer(endpoint_ifindex, 0);
}

ALWAYS_INLINE int track_hairpin(struct __sk_buff *skb, const struct packet *packet)
{
	struct ct_entry *entry = ct_lookup(packet->family, &packet->flow, DIRECTION_INGRESS);
	struct scratch *slot = scratch();

	if (entry && ct_is_alive(entry) && entry->rev_nat == packet->frontend && !opens_tcp(packet)) {
		ct_advance(entry, packet, CT_FORWARD, skb->len);
		return DROP_NONE;
	}
	if (!slot)
		return DROP_CT_INSERT_FAILED;
	entry = &slot->connection;
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->packets[CT_FORWARD] = 1;
	entry->bytes[CT_FORWARD] = skb->len;
	entry->judged = CT_ALLOWED;
	entry->peer_identity = endpoint_identity;
	entry->peer_endpoint = endpoint_id;
	entry->policy_port = packet->policy_port;
	entry->rev_nat = packet->frontend;
	entry->direction = DIRECTION_INGRESS;
	ct_prolong(entry, packet->flow.protocol, entry->flags);
	return ct_insert(packet->family, &packet->flow, DIRECTION_INGRESS, entry) ? DROP_CT_INSERT_FAILED : DROP_NONE;
}

/* A packet that has become one from the pod to itself. */
OUT_OF_LINE int hairpin(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_socket nobody BY_WORDS = { .port = packet->flow.source_port, .family = packet->family };
	union addr address;
	int reason;

	hairpin_address(packet->family, &address);
	__builtin_memcpy(nobody.addr, &address, ADDR_BYTES);
	reason = rewrite_end(skb, packet, &nobody, END_SOURCE);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	packet->flow.source = address;
	reason = track_hairpin(skb, packet);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	return return_to_pod(skb, packet);
}

/* The pod's answer to that. */
OUT_OF_LINE int hairpin_answer(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_socket own BY_WORDS = { .port = packet->flow.destination_port, .family = packet->family };
	struct ct_entry *entry = ct_find(packet);
	int reason;

	if (!entry || entry->direction != DIRECTION_INGRESS)
		return drop(skb, packet, DROP_HAIRPIN, 0);
	ct_advance(entry, packet, CT_REPLY, skb->len);
	packet->rev_nat = entry->rev_nat;
	__builtin_memcpy(own.addr, &packet->flow.source, ADDR_BYTES);
	reason = rewrite_end(skb, packet, &own, END_DESTINATION);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	packet->flow.destination = packet->flow.source;
	reason = from_frontend(skb, packet);
	if (reason != DROP_NONE)
		return drop(skb, packet, reason, 0);
	return return_to_pod(skb, packet);
}
