/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whether a packet may pass: lockdown → conntrack (→ service → conntrack) → (identity → policy).
 *
 * A connection remembers its verdict together with the revision under which it was reached. While that revision stands, a
 * packet of either direction costs one conntrack lookup; once it has moved, the next packet of either direction asks the
 * policy of the connection's own direction again: same peer, same protocol, same original port. So a change of policy cuts
 * what it forbids in both directions, and nothing passes on a verdict of yesterday.
 */
#pragma once

#include "config_subject.h"
#include "conntrack.h"
#include "endpoint.h"
#include "event.h"
#include "identity.h"
#include "maps.h"
#include "mark.h"
#include "overlay.h"
#include "packet.h"
#include "policy.h"
#include "scratch.h"
#include "service.h"

struct revision {
	const struct endpoint_state *node;
	const struct endpoint_state *endpoint;
};

ALWAYS_INLINE const struct endpoint_state *state_of(__u32 id)
{
	return bpf_map_lookup_elem(&weir_revision, &id);
}

ALWAYS_INLINE __u64 read_revision(const struct revision *revision)
{
	return *(volatile const __u64 *)&revision->node->revision + *(volatile const __u64 *)&revision->endpoint->revision;
}

/*
 * A verdict may carry an older revision than the policy it was reached under (it is then asked again, once), never a newer
 * one: the revision is read BEFORE anything that the verdict depends on, and a machine that reorders loads must not undo
 * that. An atomic operation that returns a value is a full barrier in BPF.
 */
ALWAYS_INLINE __u64 revision_before_lookups(const struct revision *revision)
{
	__u64 zero = 0;
	__u64 current = read_revision(revision);

	return current + __sync_fetch_and_add(&zero, 1);
}

/* The identity of the pod for which a proxy of this node sends the packet; 0 when no proxy does. */
ALWAYS_INLINE __u32 identity_by_proxy(struct __sk_buff *skb)
{
	__u32 mark = skb->mark;

	return has_mark(mark, MARK_PROXY_EGRESS) && sent_by_local_socket(skb) ? identity_of_mark(mark) : 0;
}

/*
 * Whether what the stack forwards with a pod's address came from that pod: by its own link. A pod of another node comes through
 * the tunnel if there is one, and past the stack. Devices that no program of ours watches bring whatever address they like.
 */
ALWAYS_INLINE bool is_true_source(struct __sk_buff *skb, __u8 family, const union addr *source)
{
	const struct endpoint_info *local = local_endpoint(family, source);

	if (is_pod(local))
		return skb->ingress_ifindex == local->ifindex;
	return !tunnel || !tunnel_to_endpoint(family, source);
}

#define CT_SOURCE_PROOF (CT_SOURCE_IS_LOCAL | CT_SOURCE_IS_MARKED)

/*
 * The other side's identity, for a packet of the direction that opens the connection; IDENTITY_UNKNOWN when it lies about its
 * source. *proof is one of CT_SOURCE_PROOF, or 0.
 */
ALWAYS_INLINE __u32 peer_identity(struct __sk_buff *skb, struct packet *packet, __u8 *proof)
{
	__u32 carried;

	if (packet->direction == DIRECTION_EGRESS)
		return identity_of_destination(packet->family, &packet->flow.destination);
	if (packet->origin == ORIGIN_CARRIED)
		return skb->cb[CB_SOURCE_IDENTITY];
	if (packet->origin == ORIGIN_NETWORK)
		return identity_of_source(packet->family, &packet->flow.source);
	carried = identity_by_proxy(skb);
	if (carried) {
		*proof = CT_SOURCE_IS_MARKED;
		return carried;
	}
	if (sent_by_local_socket(skb)) {
		*proof = CT_SOURCE_IS_LOCAL;
		return IDENTITY_HOST;
	}
	if (!is_true_source(skb, packet->family, &packet->flow.source))
		return IDENTITY_UNKNOWN;
	return identity_of_source(packet->family, &packet->flow.source);
}

ALWAYS_INLINE bool lies_about_source(const struct packet *packet)
{
	return packet->origin == ORIGIN_STACK && packet->peer_identity == IDENTITY_UNKNOWN;
}

/* Its node said who it is, through the tunnel, and the ipcache may learn of it later: until then, what its node said stands. */
ALWAYS_INLINE __u32 identity_of_opener(__u8 family, const union addr *peer, const struct ct_entry *entry)
{
	__u32 identity = identity_of_source(family, peer);
	__u32 told = entry->peer_identity;

	if (tunnel && identity == world(family) && told >= IDENTITY_CLUSTER_FIRST && told <= IDENTITY_CLUSTER_LAST)
		return told;
	return identity;
}

/* The same, when the packet in hand does not open anything: a reply, or an ICMP error. The peer is known by its address. */
ALWAYS_INLINE __u32 peer_identity_by_address(__u8 family, const union addr *peer, const struct ct_entry *entry)
{
	if (entry->direction == DIRECTION_EGRESS)
		return identity_of_destination(family, peer);
	if (entry->flags & CT_SOURCE_IS_LOCAL)
		return IDENTITY_HOST;
	if (entry->flags & CT_SOURCE_IS_MARKED)
		return entry->peer_identity;
	return identity_of_opener(family, peer, entry);
}

/* Where the peer of the quoted connection is: the error itself may come from any router on the way. */
ALWAYS_INLINE const union addr *quoted_peer_address(const struct packet *packet)
{
	return packet->direction == DIRECTION_EGRESS ? &packet->inner.source : &packet->inner.destination;
}

ALWAYS_INLINE void report_verdict(struct __sk_buff *skb, const struct packet *packet, const struct policy_answer *answer,
				  __u8 verdict)
{
	struct report report = {
		.type = EVENT_POLICY_VERDICT,
		.reason = answer->reason,
		.verdict = verdict,
		.match = answer->match,
		.auth_type = answer->auth_type,
		.proxy_port = answer->proxy_port,
		.cookie = answer->cookie,
	};

	if (verdict_events)
		send_event(skb, packet, &report);
}

/* Asks the policy. Returns what a connection remembers: CT_ALLOWED, CT_AUDITED, or a drop reason. */
ALWAYS_INLINE __u8 ask_policy(struct __sk_buff *skb, const struct packet *packet, const struct policy_question *question,
			      struct policy_answer *answer)
{
	policy_lookup(question, answer);
	if (policy_accounting && answer->match != MATCH_NONE)
		account(question, answer, skb->len);
	if (answer->reason == DROP_NONE) {
		if (!answer->audited)
			return CT_ALLOWED;
		answer->reason = DROP_POLICY_DENIED; /* what it would be if it were enforced */
		return CT_AUDITED;
	}
	if (audit_mode && (answer->reason == DROP_POLICY_DENIED || answer->reason == DROP_POLICY_DENY))
		return CT_AUDITED;
	return answer->reason;
}

ALWAYS_INLINE __u8 verdict_of(__u8 judged, __be16 proxy_port)
{
	if (judged == CT_ALLOWED)
		return proxy_port ? VERDICT_REDIRECT : VERDICT_ALLOW;
	return judged == CT_AUDITED ? VERDICT_AUDIT : VERDICT_DENY;
}

ALWAYS_INLINE bool passes(__u8 judged)
{
	return judged == CT_ALLOWED || judged == CT_AUDITED;
}

ALWAYS_INLINE int refusal(__u8 judged)
{
	if (passes(judged))
		return DROP_NONE;
	return judged ? judged : DROP_POLICY_DENIED;
}

/* Judges a connection again whose verdict was reached under another revision. */
OUT_OF_LINE int judge_again(struct __sk_buff *skb, struct packet *packet NONNULL, struct ct_entry *entry NONNULL,
			__u64 revision)
{
	bool related = packet->shape & PACKET_ICMP_ERROR;
	struct policy_question question = {
		.port = entry->policy_port,
		.direction = entry->direction,
		.protocol = related ? packet->inner.protocol : packet->flow.protocol,
		.port_known = true,
	};
	struct policy_answer answer = {};
	__u8 before = entry->judged & CT_VERDICT_MASK;
	__u8 judged, proof = 0;

	if (entry->flags & CT_FORWARDED)
		return CT_ALLOWED;
	if (related)
		packet->peer_identity = peer_identity_by_address(packet->family, quoted_peer_address(packet), entry);
	else if (packet->direction == entry->direction) {
		packet->peer_identity = peer_identity(skb, packet, &proof);
		/* The connection is someone else's, and is to know nothing of it. */
		if (lies_about_source(packet))
			return DROP_INVALID_SOURCE_IP;
		entry->flags = (entry->flags & ~CT_SOURCE_PROOF) | proof;
	} else
		packet->peer_identity = peer_identity_by_address(packet->family, peer_address(packet), entry);
	question.identity = packet->peer_identity;
	judged = ask_policy(skb, packet, &question, &answer);
	entry->peer_identity = packet->peer_identity;
	entry->peer_endpoint = endpoint_at(packet->family, related ? quoted_peer_address(packet) : peer_address(packet));
	entry->cookie = answer.cookie;
	entry->proxy_port = answer.proxy_port;
	*(volatile __u64 *)&entry->judged = revision << CT_REVISION_SHIFT | judged;
	if (judged != before)
		report_verdict(skb, packet, &answer, verdict_of(judged, answer.proxy_port));
	return judged;
}

/* Judges the first packet of a connection, and starts to track it when it may pass. */
OUT_OF_LINE int judge_new(struct __sk_buff *skb, struct packet *packet NONNULL, __u64 revision, bool track)
{
	struct policy_question question = {
		.port = packet->policy_port,
		.direction = packet->direction,
		.protocol = packet->flow.protocol,
		.port_known = !(packet->shape & PACKET_UNPLACED),
	};
	struct policy_answer answer = {};
	struct scratch *slot = scratch();
	struct ct_entry *entry;
	__u8 judged, proof = 0;

	packet->peer_identity = peer_identity(skb, packet, &proof);
	if (lies_about_source(packet))
		return DROP_INVALID_SOURCE_IP;
	question.identity = packet->peer_identity;
	judged = ask_policy(skb, packet, &question, &answer);
	packet->cookie = answer.cookie;
	report_verdict(skb, packet, &answer, verdict_of(judged, answer.proxy_port));
	if (!passes(judged))
		return judged;
	packet->peer_endpoint = endpoint_at(packet->family, peer_address(packet));
	packet->proxy_port = answer.proxy_port;
	if (!track)
		return DROP_NONE;

	if (!slot)
		return DROP_CT_INSERT_FAILED;
	entry = &slot->connection;
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->judged = revision << CT_REVISION_SHIFT | judged;
	entry->packets[CT_FORWARD] = 1;
	entry->bytes[CT_FORWARD] = skb->len;
	entry->peer_identity = packet->peer_identity;
	entry->peer_endpoint = packet->peer_endpoint;
	entry->cookie = answer.cookie;
	entry->policy_port = packet->policy_port;
	entry->proxy_port = answer.proxy_port;
	entry->rev_nat = packet->frontend;
	entry->direction = packet->direction;
	entry->flags = tcp_marks(packet, CT_FORWARD) | proof;
	if (packet->flow.protocol == IPPROTO_TCP && !opens_tcp(packet))
		entry->flags |= CT_SEEN_NON_SYN;
	ct_prolong(entry, packet->flow.protocol, entry->flags);
	/* The caller traces this one. */
	entry->flags_traced[CT_FORWARD] = packet->tcp_flags & trace_flags;
	entry->trace_due = 1 << CT_REPLY;
	if (ct_insert(packet->family, &packet->flow, packet->direction, entry))
		return DROP_CT_INSERT_FAILED;
	return DROP_NONE;
}

ALWAYS_INLINE bool asks_echo(const struct packet *packet)
{
	return packet->icmp_type == (packet->family == FAMILY_IPV4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
}

/*
 * A bare SYN against a connection that is known, or an echo: with the identifier 0, both ends of it have the same ports. True
 * when it is a connection of its own, to be judged by the policy of its own direction: nobody gets in by answering a
 * connection with the opening of another.
 */
ALWAYS_INLINE bool opens_another(const struct packet *packet, const struct ct_entry *entry)
{
	bool forward = packet->direction == entry->direction;

	if (packet->flow.protocol == IPPROTO_TCP)
		return opens_tcp(packet) && (ct_is_closing(entry->flags) || !forward);
	return is_icmp(packet->family, packet->flow.protocol) && asks_echo(packet) != forward;
}

/*
 * Whether the connection may have come to be for a service since it began: one that nobody answers, as when the service was
 * not there yet. UDP would go on so for ever. Asked of every SYN, of others now and then.
 */
ALWAYS_INLINE bool may_be_for_service(const struct packet *packet, const struct ct_entry *entry)
{
	return !(entry->flags & CT_SEEN_REPLY) && packet->direction == entry->direction &&
	       (opens_tcp(packet) || !ct_is_fresh(entry));
}

/* A known connection is not replaced by another of the same ports while both sides may speak on it. */
ALWAYS_INLINE bool may_replace(const struct ct_entry *entry)
{
	return ct_is_closing(entry->flags) || !(entry->flags & CT_SEEN_REPLY) || !passes(entry->judged & CT_VERDICT_MASK);
}

/* An echo reply that nobody asked for opens no connection: else its sender could invite requests past its ingress policy. */
ALWAYS_INLINE bool answers_nothing(const struct packet *packet)
{
	return is_icmp(packet->family, packet->flow.protocol) && !asks_echo(packet);
}

/*
 * Whether the packet is sent for someone else than those before it. A proxy's ports are not its pods': the next pod's query may
 * come from the same one, and must not pass on the verdict about the last.
 */
ALWAYS_INLINE bool speaks_for_another(struct __sk_buff *skb, const struct packet *packet, const struct ct_entry *entry)
{
	__u32 carried;

	if (packet->origin != ORIGIN_STACK || packet->direction != entry->direction)
		return false;
	carried = identity_by_proxy(skb);
	return entry->flags & CT_SOURCE_IS_MARKED ? carried != entry->peer_identity : carried;
}

/* The verdict on a known connection under the revision in force. One load, so verdict and revision belong together. */
ALWAYS_INLINE __u8 current_verdict(struct __sk_buff *skb, struct packet *packet, struct ct_entry *entry,
				   const struct revision *revision, bool for_another)
{
	__u64 judged = *(volatile __u64 *)&entry->judged;

	if (judged >> CT_REVISION_SHIFT == read_revision(revision) && !for_another)
		return judged & CT_VERDICT_MASK;
	return judge_again(skb, packet, entry, revision_before_lookups(revision));
}

/* Judges what is no connection of its own: an ICMP error goes with the connection that it complains about. */
OUT_OF_LINE int judge_untracked(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct ct_entry *entry = NULL;
	__u8 judged;
	struct revision revision;

	packet->ct_status = CT_STATUS_NONE;
	if (packet->shape & PACKET_ICMP_ERROR)
		entry = ct_find_related(packet);
	if (!entry)
		return judge_new(skb, packet, 0, false);
	packet->ct_status = CT_STATUS_RELATED;
	if (entry->direction != packet->direction)
		packet->rev_nat = entry->rev_nat;
	packet->peer_endpoint = endpoint_at(packet->family, peer_address(packet));
	revision.node = state_of(0);
	revision.endpoint = state_of(endpoint_id);
	if (!revision.node || !revision.endpoint)
		return DROP_ENDPOINT_NOT_READY;
	judged = current_verdict(skb, packet, entry, &revision, false);
	packet->cookie = entry->cookie;
	return refusal(judged);
}

/*
 * Returns DROP_NONE or why not. With `services`, what goes to one is on its way to a backend afterwards: only packets of which
 * conntrack knows nothing can be such, as connections are tracked by their backends. `remarkable` tells whether a trace of
 * the packet would say something new.
 */
ALWAYS_INLINE int judge(struct __sk_buff *skb, struct packet *packet, bool services, bool *remarkable)
{
	struct revision revision = { .node = state_of(0), .endpoint = state_of(endpoint_id) };
	struct ct_entry *entry;
	__u8 judged, way;
	bool traced;

	if (!revision.node || !revision.endpoint)
		return DROP_ENDPOINT_NOT_READY;
	if ((revision.node->flags | revision.endpoint->flags) & STATE_LOCKDOWN)
		return DROP_LOCKDOWN;
	packet->state = revision.endpoint->flags;
	traced = trace_events && somebody_listens(revision.node);

	if (packet->shape & (PACKET_UNTRACKED | PACKET_UNPLACED)) {
		*remarkable = traced;
		return judge_untracked(skb, packet);
	}

	entry = ct_find(packet);
	if (services && (!entry || opens_another(packet, entry) || may_be_for_service(packet, entry))) {
		int reason = to_backend(skb, packet);

		if (reason != DROP_NONE)
			return reason;
		if (packet->frontend)
			entry = ct_find(packet);
	}
	if (!entry || opens_another(packet, entry)) {
		packet->ct_status = CT_STATUS_NEW;
		*remarkable = traced;
		return judge_new(skb, packet, revision_before_lookups(&revision),
				 (!entry || may_replace(entry)) && !answers_nothing(packet));
	}

	way = packet->direction == entry->direction ? CT_FORWARD : CT_REPLY;
	packet->ct_status = way == CT_FORWARD ? CT_STATUS_ESTABLISHED : CT_STATUS_REPLY;
	if (way == CT_REPLY)
		packet->rev_nat = entry->rev_nat;
	else if (entry->rev_nat != packet->frontend)
		entry->rev_nat = packet->frontend;
	packet->peer_identity = entry->peer_identity;
	judged = current_verdict(skb, packet, entry, &revision, speaks_for_another(skb, packet, entry));
	packet->cookie = entry->cookie;
	packet->peer_endpoint = entry->peer_endpoint;
	if (!passes(judged))
		return refusal(judged);
	if (way == CT_FORWARD)
		packet->proxy_port = entry->proxy_port;
	ct_advance(entry, packet, way, skb->len);
	if (traced)
		*remarkable = ct_remarkable(entry, packet, way);
	return DROP_NONE;
}
