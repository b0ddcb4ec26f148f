/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which backend a client gets: the one it had, if the service wants that, else one of Maglev's choice or at random. */
#pragma once

#include "config_lb.h"
#include "maps.h"
#include "packet.h"

#define LB_NANOSECONDS 1000000000ull

/* Who asks. */
struct lb_client {
	union addr id; /* address, or cookie of a network namespace */
	__u8       kind; /* enum lb_client_kind */
};

ALWAYS_INLINE bool lb_is_recent(const struct lb_last *last, __u32 seconds)
{
	return bpf_ktime_get_coarse_ns() - last->used < seconds * LB_NANOSECONDS;
}

ALWAYS_INLINE const struct lb_socket *lb_backend(__u32 id)
{
	return bpf_map_lookup_elem(&weir_lb_backends, &id);
}

/* One step of MurmurHash3 (32 bits). */
ALWAYS_INLINE __u32 lb_hash_word(__u32 hash, __u32 word)
{
	word *= 0xcc9e2d51;
	word = word << 15 | word >> 17;
	hash ^= word * 0x1b873593;
	hash = hash << 13 | hash >> 19;
	return hash * 5 + 0xe6546b64;
}

/* The same for the same packet on every node, whichever it reaches. */
ALWAYS_INLINE __u32 lb_flow_hash(const struct flow *flow)
{
	__u32 hash = flow->protocol;

#pragma unroll
	for (int i = 0; i < 4; i++)
		hash = lb_hash_word(lb_hash_word(hash, flow->source.words[i]), flow->destination.words[i]);
	hash = lb_hash_word(hash, (__u32)flow->source_port << 16 | flow->destination_port);
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

ALWAYS_INLINE __u32 lb_maglev(__u16 service, __u32 hash)
{
	__u32 place = hash % maglev_table_size;
	struct lb_maglev_key key = { .service = service, .chunk = place / LB_MAGLEV_CHUNK };
	const __u32 *backends = bpf_map_lookup_elem(&weir_lb_maglev, &key);

	return backends ? backends[place % LB_MAGLEV_CHUNK] : 0;
}

ALWAYS_INLINE __u32 lb_at_random(struct lb_service_key *key, const struct lb_service *service)
{
	const struct lb_service *slot;

	if (!service->count)
		return 0;
	key->slot = 1 + bpf_get_prandom_u32() % service->count;
	slot = bpf_map_lookup_elem(&weir_lb_services, key);
	return slot ? slot->backend : 0;
}

/* The backend that a client had and is to keep; 0 when there is none. */
ALWAYS_INLINE __u32 lb_affine(const struct lb_affinity_key *key, const struct lb_service *service)
{
	struct lb_last *last = bpf_map_lookup_elem(&weir_lb_affinity, key);
	struct lb_member member = { .service = service->id };

	if (!last || !lb_is_recent(last, service->affinity_seconds))
		return 0;
	member.backend = last->backend;
	if (!bpf_map_lookup_elem(&weir_lb_members, &member))
		return 0;
	last->used = bpf_ktime_get_coarse_ns();
	return last->backend;
}

/*
 * Chooses for a new connection; `key` is that of the frontend's slot 0, and is spent. Returns the number of a backend, or 0
 * when there is none. `hash` is for frontends with LB_MAGLEV.
 */
OUT_OF_LINE __u32 lb_choose(struct lb_service_key *key NONNULL, const struct lb_service *service NONNULL,
			    const struct lb_client *client NONNULL, __u32 hash)
{
	struct lb_affinity_key affinity BY_WORDS = { .service = service->id, .kind = client->kind };
	__u32 backend = 0;

	if (service->affinity_seconds) {
		__builtin_memcpy(affinity.client, &client->id, ADDR_BYTES);
		backend = lb_affine(&affinity, service);
		if (backend)
			return backend;
	}
	if (service->flags & LB_MAGLEV && key->scope == LB_SCOPE_EXTERNAL)
		backend = lb_maglev(service->id, hash);
	if (!backend)
		backend = lb_at_random(key, service);
	if (backend && service->affinity_seconds) {
		struct lb_last last = { .used = bpf_ktime_get_coarse_ns(), .backend = backend };

		bpf_map_update_elem(&weir_lb_affinity, &affinity, &last, BPF_ANY);
	}
	return backend;
}
