/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How much an endpoint may send, and be sent: what comes faster is dropped, after those who understand ECN were asked to
 * slow down.
 *
 * It happens here and not in a qdisc because most packets meet none: they are redirected past the stack, into the pod or to
 * the device. So nothing can wait, and a limit is a bucket, not a queue. For TCP the depth of the bucket is what the queue
 * would be: a sender that lost the end of a burst says nothing for its retransmission timeout (200 ms at least), and has the
 * full rate on average only if the bucket saves up for that long.
 */
#pragma once

#include "conntrack.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

/* Bytes of all the packets into which the kernel will cut this one, their headers included. */
ALWAYS_INLINE __u32 bytes_on_wire(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 largest = ETH_HLEN + largest_packet(skb, packet);
	__u32 size = skb->gso_size;
	__u32 headers, cuts;

	if (!size || skb->len <= largest)
		return skb->len;
	headers = largest - size;
	/* One less than there are packets. */
	cuts = (skb->len - headers - 1) / size;
	return skb->len + cuts * headers;
}

/*
 * Whether the packet may pass; takes what it costs. A packet passes whole or not at all, however large: whoever comes next
 * waits for it. CPUs that ask at the same moment may all pass, and all pay.
 */
OUT_OF_LINE bool pay(struct __sk_buff *skb, const struct packet *packet NONNULL)
{
	struct bandwidth_key key = { .endpoint = packet->endpoint, .direction = packet->direction };
	struct bandwidth *bandwidth = bpf_map_lookup_elem(&weir_bandwidth, &key);
	__u64 now = bpf_ktime_get_ns();
	__u64 paid, ahead = 0;

	/* The limit is just being lifted. */
	if (!bandwidth || !bandwidth->rate)
		return true;
	paid = *(volatile const __u64 *)&bandwidth->paid_until;
	/* Time that passed unused is lost. Who comes second here finds that the first has seen to it. */
	if (paid < now)
		__sync_val_compare_and_swap(&bandwidth->paid_until, paid, now);
	else
		ahead = paid - now;
	if (ahead > bandwidth->depth)
		return false;
	if (ahead > bandwidth->depth / 2)
		bpf_skb_ecn_set_ce(skb);
	__sync_fetch_and_add(&bandwidth->paid_until, bytes_on_wire(skb, packet) * NANOSECONDS / bandwidth->rate);
	return true;
}
