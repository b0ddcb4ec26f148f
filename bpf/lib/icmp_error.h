/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* An ICMP error in place of the packet that it is about, on its way back to the sender. */
#pragma once

#include "parse.h"

#define ICMP_ERROR_HOPS 64
/*
 * What is quoted: an IP header without options, and the transport header of TCP or UDP. Eight bytes of TCP would do (RFC 792),
 * but the kernel cuts no packet before the place where a checksum is still to be filled in.
 */
#define QUOTED_TCP 20
#define QUOTED_UDP 8

#define ICMP_PORT_UNREACHABLE   3
#define ICMPV6_PORT_UNREACHABLE 4

struct icmp4_error {
	struct iphdr       ip;
	struct icmp_header icmp;
	struct iphdr       quoted;
	__u8               transport[QUOTED_TCP];
};
_Static_assert(sizeof(struct icmp4_error) == 68, "no padding: sent as it is");

struct icmp6_error {
	struct ipv6hdr     ip;
	struct icmp_header icmp;
	struct ipv6hdr     quoted;
	__u8               transport[QUOTED_TCP];
};
_Static_assert(sizeof(struct icmp6_error) == 108, "no padding: sent as it is");

ALWAYS_INLINE __sum16 icmp_error_checksum(__s64 sum)
{
	__u32 folded = (__u32)sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return (__sum16)~folded;
}

/* Cuts the packet down to what is quoted, and makes room before it. */
ALWAYS_INLINE bool make_room(struct __sk_buff *skb, __u32 quoted, __u32 headers)
{
	return !bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) && !bpf_skb_adjust_room(skb, headers, BPF_ADJ_ROOM_MAC, 0);
}

/* Reads what of a transport header is quoted, and leaves the rest zero, which no checksum minds. */
ALWAYS_INLINE bool load_quoted(struct __sk_buff *skb, __u32 offset, bool tcp, __u8 *to)
{
	return tcp ? load(skb, offset, to, QUOTED_TCP) : load(skb, offset, to, QUOTED_UDP);
}

/* Writes all but the bytes of a longer transport header. */
#define store_error(skb, error, tcp)                                                                   \
	((tcp) ? bpf_skb_store_bytes(skb, ETH_HLEN, error, sizeof(*(error)), 0)                        \
	       : bpf_skb_store_bytes(skb, ETH_HLEN, error, sizeof(*(error)) - QUOTED_TCP + QUOTED_UDP, 0))

OUT_OF_LINE int write_icmp4_unreachable(struct __sk_buff *skb, __u8 code, bool tcp)
{
	struct icmp4_error error = {};
	__u32 quoted = sizeof(error.quoted) + (tcp ? QUOTED_TCP : QUOTED_UDP);
	__u32 headers = sizeof(error.ip) + sizeof(error.icmp);

	if (!load(skb, ETH_HLEN, &error.quoted, sizeof(error.quoted)) || error.quoted.ihl != 5 ||
	    !load_quoted(skb, ETH_HLEN + sizeof(error.quoted), tcp, error.transport) || !make_room(skb, quoted, headers))
		return DROP_INVALID_PACKET;
	error.ip.version = 4;
	error.ip.ihl = 5;
	error.ip.ttl = ICMP_ERROR_HOPS;
	error.ip.protocol = IPPROTO_ICMP;
	error.ip.tot_len = bpf_htons(headers + quoted);
	error.ip.saddr = error.quoted.daddr;
	error.ip.daddr = error.quoted.saddr;
	error.ip.check = icmp_error_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&error.ip, sizeof(error.ip), 0));
	error.icmp.type = ICMP_DEST_UNREACH;
	error.icmp.code = code;
	error.icmp.checksum = icmp_error_checksum(
		bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error) - sizeof(error.ip), 0));
	return store_error(skb, &error, tcp) ? DROP_WRITE_ERROR : DROP_NONE;
}

OUT_OF_LINE int write_icmp6_unreachable(struct __sk_buff *skb, __u8 code, bool tcp)
{
	struct icmp6_error error = {};
	__u32 quoted = sizeof(error.quoted) + (tcp ? QUOTED_TCP : QUOTED_UDP);
	__u32 length = sizeof(error.icmp) + quoted;
	__be32 pseudo[2];
	__s64 sum;

	if (!load(skb, ETH_HLEN, &error.quoted, sizeof(error.quoted)) || is_extension_header(error.quoted.nexthdr) ||
	    !load_quoted(skb, ETH_HLEN + sizeof(error.quoted), tcp, error.transport) ||
	    !make_room(skb, quoted, sizeof(error.ip) + sizeof(error.icmp)))
		return DROP_INVALID_PACKET;
	error.ip.version = 6;
	error.ip.hop_limit = ICMP_ERROR_HOPS;
	error.ip.nexthdr = IPPROTO_ICMPV6;
	error.ip.payload_len = bpf_htons(length);
	error.ip.saddr = error.quoted.daddr;
	error.ip.daddr = error.quoted.saddr;
	error.icmp.type = ICMPV6_DEST_UNREACH;
	error.icmp.code = code;
	pseudo[0] = bpf_htonl(length);
	pseudo[1] = bpf_htonl(IPPROTO_ICMPV6);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.ip.saddr, 2 * ADDR_BYTES, 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error) - sizeof(error.ip), sum);
	error.icmp.checksum = icmp_error_checksum(sum);
	return store_error(skb, &error, tcp) ? DROP_WRITE_ERROR : DROP_NONE;
}

/*
 * Makes the packet the error that its port cannot be reached, from whom it was sent to, to its sender; link addresses are the
 * caller's. Returns DROP_NONE, or why there is no answer: other protocols, fragments and packets with options get none.
 */
ALWAYS_INLINE int answer_port_unreachable(struct __sk_buff *skb, const struct packet *packet)
{
	bool tcp = packet->flow.protocol == IPPROTO_TCP;

	if (packet->shape || (!tcp && packet->flow.protocol != IPPROTO_UDP))
		return DROP_INVALID_PACKET;
	return packet->family == FAMILY_IPV4 ? write_icmp4_unreachable(skb, ICMP_PORT_UNREACHABLE, tcp)
					     : write_icmp6_unreachable(skb, ICMPV6_PORT_UNREACHABLE, tcp);
}
