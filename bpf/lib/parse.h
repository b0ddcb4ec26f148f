/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From bytes to struct packet. Returns a drop reason, or DROP_NONE.
 *
 * Headers are copied out, straight from the linear part of the packet when they lie there, else by bpf_skb_load_bytes, which
 * reads paged packets too. Nothing here writes to the packet in place: a program that does makes the kernel unshare every
 * cloned skb, and TCP sends only clones.
 */
#pragma once

#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "maps.h"
#include "packet.h"

/* linux/icmp.h drags in the C library's sockets, so the few types that matter stand here (RFC 792). */
#define ICMP_ECHOREPLY     0
#define ICMP_DEST_UNREACH  3
#define ICMP_ECHO          8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

#define IP_MORE_FRAGMENTS  0x2000
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP6_FRAGMENT_OFFSET 0xfff8
#define IP6_MORE_FRAGMENTS  0x0001

/* RFC 8200 names four kinds before the transport header; two more than one of each is beyond what anyone sends. */
#define EXTENSION_HEADERS_MAX 6

struct fragment {
	__be32 id;
	bool   first;
	bool   later;
};

/* A load that fails clears what it was to fill. */
ALWAYS_INLINE bool load(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes(skb, offset, to, length) == 0;
}

/* Beyond this offset headers are read by the helper; the verifier wants the sum of pointer and offset bounded. */
#define DIRECT_OFFSET_MAX 2047

/* Copies the header at `offset` to *header. */
#define load_header(skb, offset, header)                                                           \
	({                                                                                         \
		__u32 where = (offset);                                                            \
		void *start = (void *)(long)(skb)->data + where;                                   \
		bool there = true;                                                                 \
                                                                                                   \
		if (where <= DIRECT_OFFSET_MAX && start + sizeof(*(header)) <= (void *)(long)(skb)->data_end) \
			*(header) = *(typeof(header))start;                                        \
		else                                                                               \
			there = load(skb, where, header, sizeof(*(header)));                       \
		there;                                                                             \
	})

/* An echo's id stands on the side of the one who asked, so that request and reply are one conversation. */
ALWAYS_INLINE bool set_echo_ports(struct flow *flow, __u8 family, __u8 type, __be16 id)
{
	bool request = type == (family == FAMILY_IPV4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
	bool reply = type == (family == FAMILY_IPV4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY);

	flow->source_port = request ? id : 0;
	flow->destination_port = reply ? id : 0;
	return request || reply;
}

/* Redirects are not among them: a router that wants to move a pod's traffic has to be allowed by policy. */
ALWAYS_INLINE bool is_icmp_error(__u8 family, __u8 type)
{
	if (family == FAMILY_IPV4)
		return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
	return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
}

/* The flow that an ICMP error quotes. Quotes of fragments or of extension headers are not followed: no flow, no relation. */
OUT_OF_LINE int parse_quoted(struct __sk_buff *skb, struct packet *packet NONNULL, __u32 offset)
{
	struct flow *inner = &packet->inner;
	__u8 type = 0;
	__u8 ports[8];

	__builtin_memset(inner, 0, sizeof(*inner));
	if (packet->family == FAMILY_IPV4) {
		struct iphdr ip;

		if (!load(skb, offset, &ip, sizeof(ip)))
			return DROP_CT_INVALID_HEADER;
		if (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
			return DROP_NONE;
		inner->source.v4 = ip.saddr;
		inner->destination.v4 = ip.daddr;
		inner->protocol = ip.protocol;
		offset += ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (!load(skb, offset, &ip, sizeof(ip)))
			return DROP_CT_INVALID_HEADER;
		__builtin_memcpy(&inner->source, &ip.saddr, ADDR_BYTES);
		__builtin_memcpy(&inner->destination, &ip.daddr, ADDR_BYTES);
		inner->protocol = ip.nexthdr;
		offset += sizeof(ip);
	}
	if (!load(skb, offset, ports, sizeof(ports)))
		return DROP_CT_INVALID_HEADER;
	if (is_icmp(packet->family, inner->protocol)) {
		type = ports[0];
		set_echo_ports(inner, packet->family, type, *(__be16 *)(ports + 4));
	} else {
		inner->source_port = *(__be16 *)ports;
		inner->destination_port = *(__be16 *)(ports + 2);
	}
	packet->shape |= PACKET_ICMP_ERROR;
	return DROP_NONE;
}

/* The first eight bytes of every ICMP message; the identifier is an echo's. */
struct icmp_header {
	__u8    type;
	__u8    code;
	__sum16 checksum;
	__be16  identifier;
	__be16  sequence;
};

struct port_header {
	__be16 source;
	__be16 destination;
};

struct tcp_header {
	struct port_header ports;
	__be32 sequence;
	__be32 acknowledged;
	__u8   offset;
	__u8   flags;
	__be16 window;
	__sum16 checksum;
	__be16 urgent;
};
_Static_assert(sizeof(struct tcp_header) == 20, "RFC 9293 §3.1");

#define UDP_HEADER_BYTES 8

OUT_OF_LINE int parse_icmp(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct icmp_header icmp;

	if (!load_header(skb, packet->payload, &icmp))
		return DROP_CT_INVALID_HEADER;
	packet->icmp_type = icmp.type;
	packet->icmp_code = icmp.code;
	packet->policy_port = bpf_htons(icmp.type);
	if (set_echo_ports(&packet->flow, packet->family, icmp.type, icmp.identifier))
		return DROP_NONE;
	packet->shape |= PACKET_UNTRACKED;
	if (is_icmp_error(packet->family, icmp.type))
		return parse_quoted(skb, packet, packet->payload + sizeof(icmp));
	return DROP_NONE;
}

ALWAYS_INLINE int parse_transport(struct __sk_buff *skb, struct packet *packet)
{
	struct flow *flow = &packet->flow;
	struct port_header ports;
	struct tcp_header tcp;

	switch (flow->protocol) {
	case IPPROTO_TCP:
		if (!load_header(skb, packet->payload, &tcp))
			return DROP_CT_INVALID_HEADER;
		packet->tcp_flags = tcp.flags;
		ports = tcp.ports;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		if (!load_header(skb, packet->payload, &ports))
			return DROP_CT_INVALID_HEADER;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (is_icmp(packet->family, flow->protocol))
			return parse_icmp(skb, packet);
		/* One family's ICMP inside the other is not a protocol that anybody speaks. */
		return DROP_UNKNOWN_L4;
	default:
		return DROP_NONE;
	}
	flow->source_port = ports.source;
	flow->destination_port = ports.destination;
	packet->policy_port = ports.destination;
	return DROP_NONE;
}

/* A first fragment leaves its ports for the others; a later one picks them up, or stays unplaced (S10). */
OUT_OF_LINE int place_fragment(struct packet *packet NONNULL, const struct fragment *fragment NONNULL)
{
	bool icmp = is_icmp(packet->family, packet->flow.protocol);
	struct fragment_key key BY_WORDS = {
		.id = fragment->id,
		.protocol = packet->flow.protocol,
		.family = packet->family,
		/* Before anybody has looked whether the source is true. */
		.endpoint = packet->endpoint,
	};
	struct fragment_ports *known;

	packet->shape |= PACKET_FRAGMENT;
	__builtin_memcpy(key.source, &packet->flow.source, ADDR_BYTES);
	__builtin_memcpy(key.destination, &packet->flow.destination, ADDR_BYTES);
	if (fragment->first) {
		struct fragment_ports ports = {
			.source_port = packet->flow.source_port,
			.destination_port = packet->flow.destination_port,
			.policy_port = packet->policy_port,
		};

		bpf_map_update_elem(&weir_fragments, &key, &ports, BPF_ANY);
		return 0;
	}
	packet->shape |= PACKET_LATER_FRAGMENT;
	known = bpf_map_lookup_elem(&weir_fragments, &key);
	if (!known) {
		packet->shape |= PACKET_UNPLACED;
		return 0;
	}
	packet->flow.source_port = known->source_port;
	packet->flow.destination_port = known->destination_port;
	packet->policy_port = known->policy_port;
	if (icmp)
		packet->icmp_type = bpf_ntohs(known->policy_port);
	return 0;
}

ALWAYS_INLINE int parse_rest(struct __sk_buff *skb, struct packet *packet, const struct fragment *fragment)
{
	int reason = DROP_NONE;

	if (!fragment->later)
		reason = parse_transport(skb, packet);
	if (reason == DROP_NONE && (fragment->first || fragment->later))
		place_fragment(packet, fragment);
	return reason;
}

ALWAYS_INLINE int parse_ipv4(struct __sk_buff *skb, struct packet *packet, bool transport)
{
	struct fragment fragment = {};
	struct iphdr ip;
	__u16 frag_off;

	if (!load_header(skb, ETH_HLEN, &ip) || ip.version != 4 || ip.ihl < 5)
		return DROP_INVALID_PACKET;
	packet->family = FAMILY_IPV4;
	packet->flow.source.v4 = ip.saddr;
	packet->flow.destination.v4 = ip.daddr;
	packet->flow.protocol = ip.protocol;
	packet->hop_limit = ip.ttl;
	packet->payload = ETH_HLEN + ip.ihl * 4;
	if (!transport)
		return DROP_NONE;

	frag_off = bpf_ntohs(ip.frag_off);
	if (frag_off & (IP_FRAGMENT_OFFSET | IP_MORE_FRAGMENTS)) {
		fragment.id = ip.id;
		fragment.later = frag_off & IP_FRAGMENT_OFFSET;
		fragment.first = !fragment.later;
		/* RFC 3128: nobody who is honest puts the ninth byte of a TCP header into a second fragment. */
		if ((frag_off & IP_FRAGMENT_OFFSET) == 1 && ip.protocol == IPPROTO_TCP)
			return DROP_INVALID_PACKET;
	}
	return parse_rest(skb, packet, &fragment);
}

/* Walks the extension headers to the transport protocol and notes a fragment on the way. */
OUT_OF_LINE int skip_extension_headers(struct __sk_buff *skb, struct packet *packet NONNULL,
			struct fragment *fragment NONNULL)
{
	__u8 next = packet->flow.protocol;
	__u32 offset = packet->payload;

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		__u8 header[8];

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
		case IPPROTO_MH:
			break;
		default:
			packet->flow.protocol = next;
			packet->payload = offset;
			return DROP_NONE;
		}
		if (!load(skb, offset, header, sizeof(header)))
			return DROP_INVALID_EXTENSION_HEADER;
		if (next == IPPROTO_FRAGMENT) {
			__u16 bits = (header[2] << 8) | header[3];

			__builtin_memcpy(&fragment->id, header + 4, 4);
			fragment->later = bits & IP6_FRAGMENT_OFFSET;
			fragment->first = !fragment->later && (bits & IP6_MORE_FRAGMENTS);
			offset += 8;
		} else if (next == IPPROTO_AH) {
			offset += (header[1] + 2) * 4;
		} else {
			offset += (header[1] + 1) * 8;
		}
		next = header[0];
		/* What follows the fragment header of a later fragment is payload, not a header. */
		if (fragment->later) {
			packet->flow.protocol = next;
			packet->payload = offset;
			return DROP_NONE;
		}
	}
	return DROP_INVALID_EXTENSION_HEADER;
}

ALWAYS_INLINE bool is_extension_header(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_AH || next == IPPROTO_MH;
}

ALWAYS_INLINE int parse_ipv6(struct __sk_buff *skb, struct packet *packet, bool transport)
{
	struct fragment fragment = {};
	struct ipv6hdr ip;
	int reason;

	if (!load_header(skb, ETH_HLEN, &ip) || ip.version != 6)
		return DROP_INVALID_PACKET;
	packet->family = FAMILY_IPV6;
	__builtin_memcpy(&packet->flow.source, &ip.saddr, ADDR_BYTES);
	__builtin_memcpy(&packet->flow.destination, &ip.daddr, ADDR_BYTES);
	packet->flow.protocol = ip.nexthdr;
	packet->hop_limit = ip.hop_limit;
	packet->payload = ETH_HLEN + sizeof(ip);
	if (!transport)
		return DROP_NONE;

	if (is_extension_header(ip.nexthdr)) {
		reason = skip_extension_headers(skb, packet, &fragment);
		if (reason != DROP_NONE)
			return reason;
	}
	return parse_rest(skb, packet, &fragment);
}

/* Length of the IP packet, or of the largest of those into which the kernel will cut it. It has been parsed. */
ALWAYS_INLINE __u32 largest_packet(struct __sk_buff *skb, const struct packet *packet)
{
	struct tcp_header tcp;
	__u32 headers = packet->payload - ETH_HLEN;

	if (!skb->gso_size)
		return skb->len - ETH_HLEN;
	if (packet->flow.protocol != IPPROTO_TCP)
		return headers + UDP_HEADER_BYTES + skb->gso_size;
	if (!load_header(skb, packet->payload, &tcp))
		return skb->len - ETH_HLEN;
	return headers + (tcp.offset >> 4) * 4 + skb->gso_size;
}

/* Parses an IP packet as far as policy needs. The caller has looked at skb->protocol: it is one of the two. */
ALWAYS_INLINE int parse(struct __sk_buff *skb, struct packet *packet)
{
	return packet->ether_type == bpf_htons(ETH_P_IP) ? parse_ipv4(skb, packet, true) : parse_ipv6(skb, packet, true);
}

/* Only the addresses: for devices where most of the packets are none of our business. */
ALWAYS_INLINE int parse_addresses(struct __sk_buff *skb, struct packet *packet)
{
	return packet->ether_type == bpf_htons(ETH_P_IP) ? parse_ipv4(skb, packet, false) : parse_ipv6(skb, packet, false);
}
