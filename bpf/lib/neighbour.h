/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ARP and neighbour discovery of a pod. A pod has a /32 and a /128: whatever it asks for, the way there is through us, so
 * every question is answered with the MAC of the host's end. The packet is turned round where it came in.
 */
#pragma once

#include "config_endpoint.h"
#include "event.h"
#include "link_control.h"
#include "packet.h"
#include "parse.h"

#define ARPHRD_ETHER 1
#define ARP_REQUEST 1
#define ARP_REPLY   2

/* RFC 826 for Ethernet and IPv4. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8   hardware_length;
	__u8   protocol_length;
	__be16 operation;
	__u8   sender_mac[MAC_BYTES];
	ipv4   sender;
	__u8   target_mac[MAC_BYTES];
	ipv4   target;
} __attribute__((packed));

#define ND_HOP_LIMIT         255

#define ND_OPTION_SOURCE_MAC 1
#define ND_OPTION_TARGET_MAC 2
#define ND_FLAGS_ROUTER_SOLICITED_OVERRIDE 0xe0

/* RFC 4861 §4.3 and §4.4: both messages have this shape, with one option at most that matters. */
struct neighbour_message {
	__u8      type;
	__u8      code;
	__sum16   checksum;
	__u8      flags;
	__u8      reserved[3];
	__u8      target[ADDR_BYTES];
	__u8      option;
	__u8      option_length; /* in units of 8 bytes */
	__u8      mac[MAC_BYTES];
} __attribute__((aligned(8)));

#define ND_BARE_BYTES 24
#define ND_FULL_BYTES 32
_Static_assert(sizeof(struct neighbour_message) == ND_FULL_BYTES, "");

ALWAYS_INLINE void copy_mac(__u8 *to, const volatile struct mac *from)
{
	for (int i = 0; i < MAC_BYTES; i++)
		to[i] = from->bytes[i];
}

/* Destination and source of the link header, in this order on the wire. */
ALWAYS_INLINE long write_link_addresses(struct __sk_buff *skb, const volatile struct mac *to, const volatile struct mac *from)
{
	__u8 macs[2 * MAC_BYTES];

	copy_mac(macs, to);
	copy_mac(macs + MAC_BYTES, from);
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

OUT_OF_LINE int arp_from_container(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct arp arp;
	ipv4 asker;

	if (!load(skb, ETH_HLEN, &arp, sizeof(arp)) || arp.hardware != bpf_htons(ARPHRD_ETHER) ||
	    arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_length != MAC_BYTES || arp.protocol_length != 4)
		return drop(skb, packet, DROP_INVALID_ARP, 0);
	/* A probe (RFC 5227) asks whether an address is taken; silence is the answer, and the host may hear it. */
	if (arp.operation == bpf_htons(ARP_REQUEST) && !arp.sender)
		return TC_ACT_OK;
	if (!endpoint_ipv4 || arp.sender != endpoint_ipv4)
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	/* The answer to the host's own question, or an announcement. */
	if (arp.operation != bpf_htons(ARP_REQUEST) || arp.target == arp.sender)
		return TC_ACT_OK;

	asker = arp.sender;
	arp.operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, MAC_BYTES);
	copy_mac(arp.sender_mac, &host_mac);
	arp.sender = arp.target;
	arp.target = asker;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), 0) || write_link_addresses(skb, &endpoint_mac, &host_mac))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	return bpf_redirect(skb->ifindex, 0);
}

ALWAYS_INLINE __sum16 fold_checksum(__s64 sum)
{
	__u32 folded = (__u32)sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return (__sum16)~folded;
}

/* Turns a solicitation into the advertisement that answers it. */
ALWAYS_INLINE int advertise(struct __sk_buff *skb, struct packet *packet, struct neighbour_message *message, bool option)
{
	/* The receiver trims a frame to the payload length, so a bare answer needs no shorter frame. */
	__u32 bytes = option ? ND_FULL_BYTES : ND_BARE_BYTES;
	struct ipv6hdr ip = { .version = 6, .nexthdr = IPPROTO_ICMPV6, .hop_limit = ND_HOP_LIMIT };
	__be32 pseudo[2] = { bpf_htonl(bytes), bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum;

	ip.payload_len = bpf_htons(bytes);
	__builtin_memcpy(&ip.saddr, message->target, ADDR_BYTES);
	__builtin_memcpy(&ip.daddr, &packet->flow.source, ADDR_BYTES);
	message->type = ND_NEIGHBOUR_ADVERT;
	message->checksum = 0;
	message->flags = ND_FLAGS_ROUTER_SOLICITED_OVERRIDE;
	if (option) {
		message->option = ND_OPTION_TARGET_MAC;
		copy_mac(message->mac, &host_mac);
	}
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip.saddr, 2 * ADDR_BYTES, 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	if (option)
		sum = bpf_csum_diff(NULL, 0, (__be32 *)message, ND_FULL_BYTES, sum);
	else
		sum = bpf_csum_diff(NULL, 0, (__be32 *)message, ND_BARE_BYTES, sum);
	message->checksum = fold_checksum(sum);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(ip), message, option ? ND_FULL_BYTES : ND_BARE_BYTES, 0) ||
	    write_link_addresses(skb, &endpoint_mac, &host_mac))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	return bpf_redirect(skb->ifindex, 0);
}

ALWAYS_INLINE bool is_own_ipv6(const union addr *address)
{
	const volatile __u64 *own = (const volatile __u64 *)&endpoint_ipv6;
	__u64 high = own[0], low = own[1];

	return (high | low) && address->halves[0] == high && address->halves[1] == low;
}

OUT_OF_LINE int link_control_from_container(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	const union addr *source = &packet->flow.source;
	struct neighbour_message message = {};
	union addr target;
	bool option;

	switch (packet->icmp_type) {
	case ND_NEIGHBOUR_SOLICIT:
	case ND_NEIGHBOUR_ADVERT:
		break;
	case ND_ROUTER_SOLICIT:
	case MLD_FIRST ... MLD_LAST:
	case MLD2_REPORT:
		/* No router advertises to pods and no group is forwarded to them: said at every start, heard by nobody. */
		return drop_quietly(skb, packet, DROP_LINK_LOCAL);
	default:
		/* Router advertisements and redirects would move other people's routes. */
		return drop(skb, packet, DROP_FORBIDDEN_ICMP6, 0);
	}
	/* RFC 4861 §7.1: anything but 255 has crossed a router. */
	if (packet->hop_limit != ND_HOP_LIMIT || packet->icmp_code != 0)
		return drop(skb, packet, DROP_FORBIDDEN_ICMP6, 0);
	if (!load(skb, packet->payload, &message, ND_BARE_BYTES))
		return drop(skb, packet, DROP_CT_INVALID_HEADER, 0);
	/* Duplicate address detection comes from ::, and wants to hear nothing. */
	if (packet->icmp_type == ND_NEIGHBOUR_SOLICIT && is_unspecified(source))
		return TC_ACT_OK;
	if (!is_own_ipv6(source) && !stays_on_link(FAMILY_IPV6, source))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT) {
		/* The answer to the host's question: a pod speaks for its own addresses only. */
		__builtin_memcpy(&target, message.target, ADDR_BYTES);
		if (!is_own_ipv6(&target) && !stays_on_link(FAMILY_IPV6, &target))
			return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
		return TC_ACT_OK;
	}
	/* Read apart from the rest: a load that fails clears what it was to fill. */
	option = load(skb, packet->payload + ND_BARE_BYTES, &message.option, ND_FULL_BYTES - ND_BARE_BYTES) &&
		 message.option == ND_OPTION_SOURCE_MAC && message.option_length == 1;
	/* Other headers before the message would have to go, and nobody puts them there. */
	if (packet->payload != ETH_HLEN + sizeof(struct ipv6hdr))
		return drop(skb, packet, DROP_FORBIDDEN_ICMP6, 0);
	return advertise(skb, packet, &message, option);
}
