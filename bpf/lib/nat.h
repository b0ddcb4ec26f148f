/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections that go on under an address of this node, with a port of its choice: those of clients from outside whose backend
 * is on another node (lb_snat.h), and those of pods to the world (masquerade.h). Both take their ports from one range, which
 * the node's own sockets do not get by themselves, and leave out those of sockets that asked for one of them.
 */
#pragma once

#include "conntrack.h"
#include "maps.h"
#include "packet.h"
#include "scratch.h"
#include "sockets.h"

/*
 * Ports that are tried for a new connection; when none of them is free, as many again for one that may as well be. A destination
 * may have NAT_PORTS; most are free, or there are too few of them.
 */
#define NAT_TRIES 64
/* Prime to NAT_PORTS (4536 = 2^3 * 3^4 * 7), so that no port is tried twice; far apart, for what is taken stands together. */
#define NAT_STRIDE 1999

ALWAYS_INLINE bool is_nat_port(__be16 port)
{
	return bpf_ntohs(port) >= NAT_FIRST_PORT;
}

/* The key of what a client sends as `flow`. */
ALWAYS_INLINE void nat_out_key(struct nat_key *key, __u8 family, const struct flow *flow, __u16 service)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->remote, &flow->destination, ADDR_BYTES);
	__builtin_memcpy(key->local, &flow->source, ADDR_BYTES);
	key->remote_port = flow->destination_port;
	key->local_port = flow->source_port;
	key->service = service;
	key->protocol = flow->protocol;
	key->family = family;
	key->way = NAT_OUT;
}

/* The key of what the other side answers as `flow`. */
ALWAYS_INLINE void nat_in_key(struct nat_key *key, __u8 family, const struct flow *flow)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->remote, &flow->source, ADDR_BYTES);
	__builtin_memcpy(key->local, &flow->destination, ADDR_BYTES);
	key->remote_port = flow->source_port;
	key->local_port = flow->destination_port;
	key->protocol = flow->protocol;
	key->family = family;
	key->way = NAT_IN;
}

/* Turns the key of one entry into that of the other, which the entry names. */
ALWAYS_INLINE void nat_other_key(struct nat_key *key, const struct nat_entry *entry)
{
	__builtin_memcpy(key->local, entry->addr, ADDR_BYTES);
	key->local_port = entry->port;
	key->way = key->way == NAT_OUT ? NAT_IN : NAT_OUT;
	key->service = key->way == NAT_OUT ? entry->service : 0;
}

ALWAYS_INLINE bool nat_is_alive(const struct nat_entry *in)
{
	return jiffies() - in->touched < CT_FRESH_JIFFIES || in->expires > clock();
}

/* Whether a NAT_IN entry belongs to the connection that `out` is the key of. */
ALWAYS_INLINE bool nat_belongs_to(const struct nat_entry *in, const struct nat_key *out)
{
	union addr a, b;

	__builtin_memcpy(&a, in->addr, ADDR_BYTES);
	__builtin_memcpy(&b, out->local, ADDR_BYTES);
	return same_address(&a, &b) && in->port == out->local_port && in->service == out->service;
}

/* Keeps state and lifetime of a connection. True when it is a while since that was done last. */
ALWAYS_INLINE bool nat_advance(struct nat_entry *in, const struct packet *packet, __u8 way)
{
	bool stale = jiffies() - in->touched >= CT_FRESH_JIFFIES;
	__u8 flags = in->flags;

	/* The same ports again, for another connection. */
	if (way == CT_FORWARD && opens_tcp(packet) && ct_is_closing(flags))
		flags = 0;
	flags |= tcp_marks(packet, way);
	if (way == CT_REPLY)
		flags |= CT_SEEN_REPLY;
	if (stale || flags != in->flags) {
		in->flags = flags;
		in->expires = clock() + ct_lifetime(packet->flow.protocol, flags);
		in->touched = jiffies();
	}
	return stale;
}

/*
 * The NAT_IN entry of the connection that `out` is the key of, and in *from where it goes on from; NULL when there is none. Both
 * entries are looked up every time: nothing is done in the name of a port that has become somebody else's.
 */
ALWAYS_INLINE struct nat_entry *nat_connection(const struct nat_key *out, struct lb_socket *from)
{
	struct nat_key key BY_WORDS = *out;
	const struct nat_entry *entry = bpf_map_lookup_elem(&weir_nat, out);
	struct nat_entry *in;

	if (!entry)
		return NULL;
	nat_other_key(&key, entry);
	in = bpf_map_lookup_elem(&weir_nat, &key);
	if (!in || !nat_belongs_to(in, out) || !nat_is_alive(in))
		return NULL;
	__builtin_memcpy(from->addr, key.local, ADDR_BYTES);
	from->port = key.local_port;
	return in;
}

/* Where a client's connection goes on from: 1, and *from says so. */
OUT_OF_LINE int nat_find(const struct packet *packet NONNULL, __u16 service, struct lb_socket *from NONNULL)
{
	struct nat_key out BY_WORDS;
	struct nat_entry *in;

	nat_out_key(&out, packet->family, &packet->flow, service);
	in = nat_connection(&out, from);
	if (!in)
		return 0;
	nat_advance(in, packet, CT_FORWARD);
	return 1;
}

/* The same for who only speaks about the connection. */
OUT_OF_LINE int nat_origin(const struct nat_key *out NONNULL, struct lb_socket *from NONNULL)
{
	return !!nat_connection(out, from);
}

/* For how long after its last packet a connection that was never answered keeps a port that somebody else needs. */
#define NAT_PATIENCE_SECONDS 5

/* Whether nobody has answered the connection, and it said nothing more: of a flood, rather than of a client. */
ALWAYS_INLINE bool nat_is_forlorn(const struct nat_entry *in, __u8 protocol)
{
	__u64 last_packet = in->expires - ct_lifetime(protocol, in->flags);

	return !(in->flags & (CT_SEEN_REPLY | CT_SEEN_NON_SYN)) && last_packet + NAT_PATIENCE_SECONDS * NANOSECONDS < clock();
}

/*
 * Frees the port of a connection whose time is over, or in need of one that may as well be. Of all who find it so, one is told
 * that it did.
 */
ALWAYS_INLINE bool nat_free(const struct nat_key *key, bool in_need)
{
	struct nat_entry *in = bpf_map_lookup_elem(&weir_nat, key);
	__u64 expires;

	if (!in || (nat_is_alive(in) && !(in_need && nat_is_forlorn(in, key->protocol))))
		return false;
	expires = in->expires;
	if (__sync_val_compare_and_swap(&in->expires, expires, expires + 1) != expires)
		return false;
	return !bpf_map_delete_elem(&weir_nat, key);
}

/* Whether the port that the answers go to is the connection's from now on, whose NAT_IN entry claim->in is. */
OUT_OF_LINE int nat_claim(struct __sk_buff *skb, __u8 family, struct nat_claim *claim NONNULL)
{
	if (has_socket(skb, family, &claim->answer))
		return 0;
	nat_in_key(&claim->key, family, &claim->answer);
	if (!bpf_map_update_elem(&weir_nat, &claim->key, &claim->in, BPF_NOEXIST))
		return 1;
	return nat_free(&claim->key, claim->in_need) && !bpf_map_update_elem(&weir_nat, &claim->key, &claim->in, BPF_NOEXIST);
}

ALWAYS_INLINE void nat_fill_claim(struct nat_claim *claim, const struct packet *packet, __u16 service,
				  const struct lb_socket *from)
{
	struct nat_entry *in = &claim->in;

	__builtin_memset(claim, 0, sizeof(*claim));
	claim->answer.source = packet->flow.destination;
	__builtin_memcpy(&claim->answer.destination, from->addr, ADDR_BYTES);
	claim->answer.source_port = packet->flow.destination_port;
	claim->answer.protocol = packet->flow.protocol;
	__builtin_memcpy(in->addr, &packet->flow.source, ADDR_BYTES);
	in->port = packet->flow.source_port;
	in->service = service;
	in->flags = tcp_marks(packet, CT_FORWARD);
	if (packet->flow.protocol == IPPROTO_TCP && !opens_tcp(packet))
		in->flags |= CT_SEEN_NON_SYN;
	in->expires = clock() + ct_lifetime(packet->flow.protocol, in->flags);
	in->touched = jiffies();
	__builtin_memcpy(claim->out.addr, from->addr, ADDR_BYTES);
}

/* Where to begin to look for a port: at that which the connection had before its entries were pushed out. */
ALWAYS_INLINE __u32 nat_first_place(struct nat_claim *claim, const struct packet *packet, __u16 service)
{
	const struct nat_entry *before;

	nat_out_key(&claim->key, packet->family, &packet->flow, service);
	before = bpf_map_lookup_elem(&weir_nat, &claim->key);
	if (before && is_nat_port(before->port))
		return bpf_ntohs(before->port) - NAT_FIRST_PORT;
	return bpf_get_prandom_u32() % NAT_PORTS;
}

/* Lets a client's connection go on from a port of from->addr, which it fills in. Returns 0 when none is free. */
OUT_OF_LINE int nat_take(struct __sk_buff *skb, const struct packet *packet NONNULL, __u16 service,
			 struct lb_socket *from NONNULL)
{
	struct scratch *slot = scratch();
	struct nat_claim *claim;
	bool taken = false;
	__u32 place;

	if (!slot)
		return 0;
	claim = &slot->claim;
	nat_fill_claim(claim, packet, service, from);
	place = nat_first_place(claim, packet, service);
	for (int i = 0; i < 2 * NAT_TRIES && !taken; i++) {
		claim->in_need = i >= NAT_TRIES;
		claim->answer.destination_port = bpf_htons(NAT_FIRST_PORT + place);
		taken = nat_claim(skb, packet->family, claim);
		place = (place + NAT_STRIDE) % NAT_PORTS;
	}
	if (!taken)
		return 0;
	from->port = claim->out.port = claim->answer.destination_port;
	nat_out_key(&claim->key, packet->family, &packet->flow, service);
	if (!bpf_map_update_elem(&weir_nat, &claim->key, &claim->out, BPF_ANY))
		return 1;
	nat_other_key(&claim->key, &claim->out);
	bpf_map_delete_elem(&weir_nat, &claim->key);
	return 0;
}

/* Whose connection an answer belongs to, or what an ICMP error from the network quotes; NULL when to none. */
ALWAYS_INLINE struct nat_entry *nat_owner(const struct packet *packet, struct nat_key *key)
{
	bool error = packet->shape & PACKET_ICMP_ERROR;
	struct nat_entry *in;

	if (error) {
		nat_out_key(key, packet->family, &packet->inner, 0);
		key->way = NAT_IN;
	} else {
		nat_in_key(key, packet->family, &packet->flow);
	}
	if (!is_nat_port(key->local_port))
		return NULL;
	in = bpf_map_lookup_elem(&weir_nat, key);
	return in && nat_is_alive(in) ? in : NULL;
}

/* The connection goes on with an answer: it lives, and so do both of its entries. */
ALWAYS_INLINE void nat_answered(const struct packet *packet, struct nat_key *key, struct nat_entry *in)
{
	struct nat_entry out BY_WORDS = {};

	if (!nat_advance(in, packet, CT_REPLY))
		return;
	__builtin_memcpy(out.addr, key->local, ADDR_BYTES);
	out.port = key->local_port;
	nat_other_key(key, in);
	if (!bpf_map_lookup_elem(&weir_nat, key))
		bpf_map_update_elem(&weir_nat, key, &out, BPF_NOEXIST);
}
