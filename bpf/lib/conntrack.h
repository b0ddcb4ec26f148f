/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connections: finding the one that a packet belongs to, and keeping its state and lifetime. */
#pragma once

#include "config.h"
#include "maps.h"
#include "packet.h"

#define NANOSECONDS 1000000000ull

/* Cheap, a few milliseconds behind, and never going back: enough for lifetimes in seconds. */
ALWAYS_INLINE __u64 clock(void)
{
	return bpf_ktime_get_coarse_ns();
}

/*
 * Most packets need no clock at all. Calling it costs as much as a small map lookup, while jiffies are one load; but only
 * the kernel knows how long one is. 32 of them are between 32 ms (HZ 1000) and 320 ms (HZ 100): a connection whose expiry was
 * written that recently is alive, as no lifetime is below a second, and need not have it written again.
 */
#define CT_FRESH_JIFFIES 32

ALWAYS_INLINE __u32 jiffies(void)
{
	return bpf_jiffies64();
}

ALWAYS_INLINE bool ct_is_fresh(const struct ct_entry *entry)
{
	return jiffies() - entry->touched < CT_FRESH_JIFFIES;
}

ALWAYS_INLINE bool ct_is_alive(const struct ct_entry *entry)
{
	return ct_is_fresh(entry) || entry->expires > clock();
}

/* Both families' keys from one side's view: `flow` travels in `direction`, so its source is local when that is egress. */
#define FILL_CT_KEY(key, flow, direction, member)                                         \
	do {                                                                              \
		bool outbound = (direction) == DIRECTION_EGRESS;                          \
		__builtin_memcpy(&(key).local, outbound ? &(flow)->source : &(flow)->destination, sizeof((key).local));  \
		__builtin_memcpy(&(key).remote, outbound ? &(flow)->destination : &(flow)->source, sizeof((key).remote)); \
		(key).local_port = outbound ? (flow)->source_port : (flow)->destination_port;  \
		(key).remote_port = outbound ? (flow)->destination_port : (flow)->source_port; \
		(key).protocol = (flow)->protocol;                                        \
		(key).scope = CT_SCOPE_ENDPOINT;                                          \
	} while (0)

ALWAYS_INLINE struct ct_entry *ct_lookup(__u8 family, const struct flow *flow, __u8 direction)
{
	if (family == FAMILY_IPV4) {
		struct ct4_key key BY_WORDS = {};

		FILL_CT_KEY(key, flow, direction, v4);
		return bpf_map_lookup_elem(&weir_ct4, &key);
	} else {
		struct ct6_key key BY_WORDS = {};

		FILL_CT_KEY(key, flow, direction, bytes);
		return bpf_map_lookup_elem(&weir_ct6, &key);
	}
}

ALWAYS_INLINE long ct_insert(__u8 family, const struct flow *flow, __u8 direction, const struct ct_entry *entry)
{
	if (family == FAMILY_IPV4) {
		struct ct4_key key BY_WORDS = {};

		FILL_CT_KEY(key, flow, direction, v4);
		return bpf_map_update_elem(&weir_ct4, &key, entry, BPF_ANY);
	} else {
		struct ct6_key key BY_WORDS = {};

		FILL_CT_KEY(key, flow, direction, bytes);
		return bpf_map_update_elem(&weir_ct6, &key, entry, BPF_ANY);
	}
}

/* The connection that a packet belongs to, or NULL. What has outlived its time is not there, even before it is collected. */
ALWAYS_INLINE struct ct_entry *ct_find(const struct packet *packet)
{
	struct ct_entry *entry = ct_lookup(packet->family, &packet->flow, packet->direction);

	return entry && ct_is_alive(entry) ? entry : NULL;
}

/*
 * The connection that an ICMP error complains about: the quoted packet went the other way, from or to the very address whose
 * error this is. All endpoints share the map, and nobody speaks, or is spoken to, of the connections of another.
 */
ALWAYS_INLINE struct ct_entry *ct_find_related(const struct packet *packet)
{
	bool outbound = packet->direction == DIRECTION_EGRESS;
	const union addr *own = outbound ? &packet->flow.source : &packet->flow.destination;
	const union addr *quoted = outbound ? &packet->inner.destination : &packet->inner.source;
	struct ct_entry *entry;

	if (!same_address(own, quoted))
		return NULL;
	entry = ct_lookup(packet->family, &packet->inner, outbound ? DIRECTION_INGRESS : DIRECTION_EGRESS);
	return entry && ct_is_alive(entry) ? entry : NULL;
}

ALWAYS_INLINE bool ct_is_closing(__u8 flags)
{
	return (flags & CT_CLOSING) == CT_CLOSING || flags & CT_RESET;
}

ALWAYS_INLINE bool opens_tcp(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

ALWAYS_INLINE __u64 ct_lifetime(__u8 protocol, __u8 flags)
{
	if (protocol != IPPROTO_TCP)
		return other_seconds * NANOSECONDS;
	if (ct_is_closing(flags))
		return tcp_closing_seconds * NANOSECONDS;
	if (flags & (CT_SEEN_REPLY | CT_SEEN_NON_SYN))
		return tcp_established_seconds * NANOSECONDS;
	return tcp_syn_seconds * NANOSECONDS;
}

#define CT_BOTH_WAYS (1 << CT_FORWARD | 1 << CT_REPLY)

/* Begins an interval of traces when the last one is over. */
ALWAYS_INLINE void ct_begin_interval(struct ct_entry *entry, __u64 now)
{
	__u32 milliseconds = now / 1000000;

	if (!trace_events || milliseconds - entry->traced < trace_interval)
		return;
	entry->traced = milliseconds;
	entry->trace_due = CT_BOTH_WAYS;
}

ALWAYS_INLINE void ct_prolong(struct ct_entry *entry, __u8 protocol, __u8 flags)
{
	__u64 now = clock();

	entry->expires = now + ct_lifetime(protocol, flags);
	entry->touched = jiffies();
	ct_begin_interval(entry, now);
}

/*
 * Whether a trace of the packet says something new: it is the first of its way in an interval, or has flags that no packet
 * of its way had. CPUs do not agree about this: at worst there is a trace more.
 */
ALWAYS_INLINE bool ct_remarkable(struct ct_entry *entry, const struct packet *packet, __u8 way)
{
	__u8 unseen = packet->tcp_flags & trace_flags & ~entry->flags_traced[way];
	__u8 due = entry->trace_due & (1 << way);

	if (!unseen && !due)
		return false;
	entry->flags_traced[way] |= unseen;
	entry->trace_due &= ~due;
	return true;
}

ALWAYS_INLINE __u8 tcp_marks(const struct packet *packet, __u8 way)
{
	__u8 marks = 0;

	if (packet->flow.protocol != IPPROTO_TCP)
		return 0;
	if (packet->tcp_flags & TCP_FIN)
		marks |= way == CT_FORWARD ? CT_FIN_FORWARD : CT_FIN_REPLY;
	if (packet->tcp_flags & TCP_RST)
		marks |= CT_RESET;
	return marks;
}

/* Counts a packet that is let through and moves the connection's state. */
ALWAYS_INLINE void ct_advance(struct ct_entry *entry, const struct packet *packet, __u8 way, __u32 bytes)
{
	__u8 flags = entry->flags | tcp_marks(packet, way);
	bool changed;

	if (way == CT_REPLY)
		flags |= CT_SEEN_REPLY;
	changed = flags != entry->flags;
	if (changed)
		entry->flags = flags;
	if (changed || !ct_is_fresh(entry))
		ct_prolong(entry, packet->flow.protocol, flags);
	if (way == CT_REPLY) {
		__sync_fetch_and_add(&entry->packets[CT_REPLY], 1);
		__sync_fetch_and_add(&entry->bytes[CT_REPLY], bytes);
	} else {
		__sync_fetch_and_add(&entry->packets[CT_FORWARD], 1);
		__sync_fetch_and_add(&entry->bytes[CT_FORWARD], bytes);
	}
}
