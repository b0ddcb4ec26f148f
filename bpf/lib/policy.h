/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the endpoint's policy says of one peer, protocol and port. */
#pragma once

#include "config_subject.h"
#include "event.h"
#include "maps.h"
#include "packet.h"

struct policy_question {
	__u32  identity;
	__be16 port;
	__u8   direction;
	__u8   protocol;
	bool   port_known; /* false for a fragment that cannot be placed (S10) */
};

struct policy_answer {
	__u8   reason; /* DROP_NONE, or why not */
	__u8   match;  /* enum match_kind */
	__u8   auth_type;
	__u8   prefix; /* bits past POLICY_STATIC_BITS of the deciding entry */
	__u32  identity; /* of the deciding entry: the one asked for, or 0 */
	__u32  cookie;
	__be16 proxy_port;
	bool   audited; /* allowed, but audited policies would deny it */
};

#define POLICY_FULL_PREFIX (POLICY_STATIC_BITS + POLICY_PROTOCOL_BITS + POLICY_PORT_BITS)

ALWAYS_INLINE __u8 entry_prefix(const struct policy_entry *entry)
{
	return entry->flags >> POLICY_PREFIX_SHIFT;
}

/*
 * Decides between the best match of the exact identity and that of identity 0 (S7). True when the exact one wins:
 *   1. the one of higher precedence;
 *   2. at equal precedence, a denial;
 *   3. both or neither denying, the one that says more of protocol and port;
 *   4. all else equal, the one that names the identity.
 */
ALWAYS_INLINE bool exact_wins(const struct policy_entry *exact, const struct policy_entry *any)
{
	if (exact->precedence != any->precedence)
		return exact->precedence > any->precedence;
	if ((exact->flags ^ any->flags) & POLICY_DENY)
		return exact->flags & POLICY_DENY;
	return entry_prefix(exact) >= entry_prefix(any);
}

ALWAYS_INLINE __u8 match_kind(bool exact, __u8 prefix)
{
	if (prefix == 0)
		return exact ? MATCH_L3_ONLY : MATCH_ALL;
	if (prefix == POLICY_PROTOCOL_BITS)
		return exact ? MATCH_L3_PROTO : MATCH_PROTO_ONLY;
	return exact ? MATCH_L3_L4 : MATCH_L4_ONLY;
}

OUT_OF_LINE int policy_lookup(const struct policy_question *question NONNULL, struct policy_answer *answer NONNULL)
{
	struct policy_key key = {
		/* A shorter key finds only shorter prefixes: here, those that leave the port open. */
		.prefixlen = question->port_known ? POLICY_FULL_PREFIX : POLICY_STATIC_BITS + POLICY_PROTOCOL_BITS,
		.identity = question->identity,
		.egress = question->direction,
		.protocol = question->protocol,
		.port = question->port,
	};
	const struct policy_entry *exact = NULL, *any, *entry;

	if (question->identity != IDENTITY_UNKNOWN)
		exact = bpf_map_lookup_elem(&weir_policy, &key);
	key.identity = 0;
	any = bpf_map_lookup_elem(&weir_policy, &key);

	answer->reason = DROP_POLICY_DENIED;
	if (!exact && !any)
		return 0;
	if (exact && (!any || exact_wins(exact, any))) {
		entry = exact;
		answer->identity = question->identity;
	} else {
		entry = any;
	}
	if (!entry)
		return 0;
	answer->prefix = entry_prefix(entry);
	answer->match = match_kind(entry == exact, answer->prefix);
	answer->cookie = entry->cookie;
	if (entry->flags & POLICY_DENY) {
		answer->reason = DROP_POLICY_DENY;
		return 0;
	}
	answer->proxy_port = entry->proxy_port;
	answer->audited = entry->flags & POLICY_AUDITED;
	/* What an entry inherits stands in it already (S11): the other match has no say. */
	answer->auth_type = entry->auth_type == AUTH_DISABLED ? AUTH_NONE : entry->auth_type;
	if (answer->auth_type != AUTH_NONE)
		answer->reason = DROP_AUTH_REQUIRED;
	else if (answer->proxy_port && question->direction == DIRECTION_INGRESS)
		answer->reason = DROP_NO_PROXY; /* only what pods send is taken to one so far */
	else
		answer->reason = DROP_NONE;
	return 0;
}

/* Counts what an entry decided, under the entry's own key. */
OUT_OF_LINE int account(const struct policy_question *question NONNULL, const struct policy_answer *answer NONNULL,
			__u32 bytes)
{
	__u8 port_bits = answer->prefix > POLICY_PROTOCOL_BITS ? answer->prefix - POLICY_PROTOCOL_BITS : 0;
	struct policystats_key key = {
		.endpoint = endpoint_id,
		.egress = question->direction,
		.protocol = answer->prefix >= POLICY_PROTOCOL_BITS ? question->protocol : 0,
		.identity = answer->identity,
		.port = bpf_htons(bpf_ntohs(question->port) & (0xffff0000 >> (port_bits & 31))),
		.prefix = answer->prefix,
	};
	struct traffic first = { .packets = 1, .bytes = bytes };
	struct traffic *traffic = bpf_map_lookup_elem(&weir_policystats, &key);

	if (!traffic) {
		bpf_map_update_elem(&weir_policystats, &key, &first, BPF_ANY);
		return 0;
	}
	traffic->packets++;
	traffic->bytes += bytes;
	return 0;
}
