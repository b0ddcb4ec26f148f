/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Tells a pod that policy refuses what it sends, so that it need not wait for an answer: an ICMP error "communication
 * administratively prohibited" (RFC 1812 §5.2.7.1, RFC 4443 §3.1), in place of the packet and straight back to its sender.
 */
#pragma once

#include "icmp_error.h"
#include "packet.h"
#include "service.h"

#define ICMP_PKT_FILTERED 13

/* What RFC 1122 §3.2.2 and RFC 4443 §2.4 let somebody complain about. */
ALWAYS_INLINE bool may_respond(const struct packet *packet)
{
	if (packet->shape || packet->ct_status == CT_STATUS_REPLY)
		return false;
	switch (packet->flow.protocol) {
	case IPPROTO_TCP:
		return !(packet->tcp_flags & TCP_RST);
	case IPPROTO_UDP:
		return true;
	default:
		return is_icmp(packet->family, packet->flow.protocol) &&
		       packet->icmp_type == (packet->family == FAMILY_IPV4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
	}
}

/* Makes of a packet that policy refuses the answer to it; link addresses are the caller's. Returns DROP_NONE, or why there is none. */
OUT_OF_LINE int answer_denied(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	bool tcp = packet->flow.protocol == IPPROTO_TCP;
	struct lb_socket frontend BY_WORDS;

	if (!may_respond(packet))
		return DROP_INVALID_PACKET;
	/* Policy was asked about a backend, of which the pod does not know. */
	if (packet->frontend && (!frontend_of(packet->frontend, packet->family, &packet->flow.source,
					      packet->flow.source_port, &frontend) ||
				 rewrite_end(skb, packet, &frontend, END_DESTINATION)))
		return DROP_NO_SERVICE;
	return packet->family == FAMILY_IPV4 ? write_icmp4_unreachable(skb, ICMP_PKT_FILTERED, tcp)
					     : write_icmp6_unreachable(skb, ICMPV6_ADM_PROHIBITED, tcp);
}
