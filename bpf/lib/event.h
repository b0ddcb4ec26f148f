/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs tell user space: counters for every packet, events for those that matter. */
#pragma once

#include "config.h"
#include "maps.h"
#include "packet.h"

ALWAYS_INLINE void count(__u8 reason, __u8 direction, __u32 bytes)
{
	__u32 index = (direction << METRICS_DIRECTION_SHIFT) | reason;
	struct traffic *traffic = bpf_map_lookup_elem(&weir_metrics, &index);

	if (!traffic)
		return;
	/* Per CPU, and programs of one CPU do not interrupt each other: no atomics. */
	traffic->packets++;
	traffic->bytes += bytes;
}

ALWAYS_INLINE __u8 metrics_direction(const struct packet *packet)
{
	return packet->direction == DIRECTION_EGRESS ? METRICS_EGRESS : METRICS_INGRESS;
}

/* What an event adds to what the packet's context says. */
struct report {
	__u8   type;   /* enum event_type */
	__u8   reason;
	__u8   verdict;
	__u8   match;
	__u8   auth_type;
	__be16 proxy_port;
	__u32  cookie;
};

/* Takes the price of an event from what its type has earned on this CPU. False, and counted, when that is not enough. */
ALWAYS_INLINE bool afford(struct event_account *account, __u64 now)
{
	__u64 credit;

	if (!event_cost)
		return true;
	credit = account->credit + (now - account->since);
	if (credit > event_burst)
		credit = event_burst;
	account->since = now;
	if (credit < event_cost) {
		account->credit = credit;
		account->limited++;
		return false;
	}
	account->credit = credit - event_cost;
	return true;
}

/* Nobody may believe that nothing happened: what is left out is counted, by type. Per CPU, so without atomics. */
OUT_OF_LINE int send_event(struct __sk_buff *skb, const struct packet *packet NONNULL,
			const struct report *report NONNULL)
{
	__u32 type = report->type;
	struct event_account *account = bpf_map_lookup_elem(&weir_event_accounts, &type);
	__u64 now = bpf_ktime_get_ns();
	struct event *event;

	if (!account || !afford(account, now))
		return 0;
	event = bpf_ringbuf_reserve(&weir_events, sizeof(*event), 0);
	if (!event) {
		account->lost++;
		return 0;
	}
	event->time = now;
	event->type = report->type;
	event->reason = report->reason;
	event->direction = packet->direction;
	event->family = packet->family;
	event->protocol = packet->flow.protocol;
	event->tcp_flags = packet->tcp_flags;
	event->icmp_type = packet->icmp_type;
	event->icmp_code = packet->icmp_code;
	event->endpoint = packet->endpoint;
	event->source_port = packet->flow.source_port;
	event->destination_port = packet->flow.destination_port;
	event->ether_type = packet->ether_type;
	if (packet->direction == DIRECTION_EGRESS) {
		event->source_identity = packet->identity;
		event->destination_identity = packet->peer_identity;
	} else {
		event->source_identity = packet->peer_identity;
		event->destination_identity = packet->identity;
	}
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	event->cookie = report->cookie;
	event->hook = packet->hook;
	event->ct_status = packet->ct_status;
	event->verdict = report->verdict;
	event->match = report->match;
	event->proxy_port = report->proxy_port;
	event->auth_type = report->auth_type;
	event->pad = 0;
	__builtin_memcpy(event->source, &packet->flow.source, ADDR_BYTES);
	__builtin_memcpy(event->destination, &packet->flow.destination, ADDR_BYTES);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The one way to drop a packet: counted, reported, with its reason. */
OUT_OF_LINE int drop(struct __sk_buff *skb, const struct packet *packet NONNULL, __u8 reason, __u32 cookie)
{
	count(reason, metrics_direction(packet), skb->len);
	if (drop_events) {
		struct report report = { .type = EVENT_DROP, .reason = reason, .cookie = cookie };

		send_event(skb, packet, &report);
	}
	return TC_ACT_SHOT;
}

/* What every interface says when it comes up, and nobody asked for: counted, but not worth an event each. */
ALWAYS_INLINE int drop_quietly(struct __sk_buff *skb, const struct packet *packet, __u8 reason)
{
	count(reason, metrics_direction(packet), skb->len);
	return TC_ACT_SHOT;
}

OUT_OF_LINE int trace(struct __sk_buff *skb, const struct packet *packet NONNULL, __u8 point)
{
	struct report report = { .type = EVENT_TRACE, .reason = point };

	return send_event(skb, packet, &report);
}

/* Where a packet comes from, as opposed to where it goes. */
ALWAYS_INLINE bool is_arrival(__u8 point)
{
	return point == TRACE_FROM_NETWORK || point == TRACE_FROM_OVERLAY;
}

ALWAYS_INLINE bool somebody_listens(const struct endpoint_state *node)
{
	return *(volatile const __u32 *)&node->flags & STATE_TRACED;
}

/* Whether packets are traced one by one: with an aggregation of this level, or a lower one. */
ALWAYS_INLINE bool traces_every_packet_at(__u8 level)
{
	const struct endpoint_state *node;
	__u32 zero = 0;

	if (!trace_events || trace_aggregation > level)
		return false;
	node = bpf_map_lookup_elem(&weir_revision, &zero);
	return node && somebody_listens(node);
}

ALWAYS_INLINE bool traces_every_packet(__u8 point)
{
	return traces_every_packet_at(is_arrival(point) ? AGGREGATE_NONE : AGGREGATE_LOW);
}

/* Counts a packet that goes on, and traces it when that is wanted and it says something new. */
ALWAYS_INLINE void forwarded(struct __sk_buff *skb, const struct packet *packet, __u8 point, bool remarkable)
{
	count(DROP_NONE, metrics_direction(packet), skb->len);
	if ((trace_events && remarkable) || traces_every_packet(point))
		trace(skb, packet, point);
}

/* The same of a packet that another endpoint's program judges next: that one says whether it arrives, or why not. */
ALWAYS_INLINE void handed_over(struct __sk_buff *skb, const struct packet *packet)
{
	count(DROP_NONE, metrics_direction(packet), skb->len);
	if (traces_every_packet_at(AGGREGATE_NONE))
		trace(skb, packet, TRACE_TO_ENDPOINT);
}
