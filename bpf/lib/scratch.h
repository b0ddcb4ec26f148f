/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is too large for the stack, whose 512 bytes a program shares with every function it calls: one slot a CPU, in
 * weir_scratch, that belongs to the TC program that runs there.
 *
 * Nothing else of ours gets in between. TC programs run with bottom halves off, so neither softirqs nor other tasks of this
 * CPU run one meanwhile, and hard interrupts run none. bpf_redirect and its kin only note where to: the packet moves, and
 * meets other programs, when this one has returned. A tail call does not return, so it may take the slot over; what it is to
 * know travels in skb->cb. Two things would break this and are not allowed: bpf_clone_redirect, which runs the other
 * device's programs inside this one, and programs that are no TC programs (those on sockets and cgroups are interrupted by
 * packets, and need slots of their own).
 *
 * A slot holds what the packet before left in it: new_packet() clears the context; whoever uses the rest clears that.
 */
#pragma once

#include "maps.h"
#include "packet.h"

/* What nat_take is about to insert. */
struct nat_claim {
	struct flow      answer;
	struct nat_key   key;
	struct nat_entry in;
	struct nat_entry out;
	bool             in_need; /* no port was free */
};

struct scratch {
	struct packet    packet;
	struct ct_entry  connection; /* what judge_new is about to insert */
	struct nat_claim claim;
};
_Static_assert(sizeof(struct scratch) <= SCRATCH_BYTES, "the map's values are of one size for all versions");

/* No entry of an array is missing, but the verifier wants to hear what happens then: nothing is let through. */
#define NO_SCRATCH TC_ACT_SHOT

ALWAYS_INLINE struct scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weir_scratch, &zero);
}

/* The context of the packet in hand, all zero but for what is passed; NULL never comes. */
ALWAYS_INLINE struct packet *new_packet(struct __sk_buff *skb, __u8 direction, __u8 hook)
{
	struct scratch *slot = scratch();
	struct packet *packet;

	if (!slot)
		return NULL;
	packet = &slot->packet;
	__builtin_memset(&packet->PACKET_CLEARED_FROM, 0, sizeof(*packet) - offsetof(struct packet, PACKET_CLEARED_FROM));
	packet->ether_type = skb->protocol;
	packet->direction = direction;
	packet->hook = hook;
	return packet;
}
