/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets inside packets: from one node's pods to another's, by VXLAN (RFC 7348), with the sender's identity as the VNI.
 * weir_vxlan keeps no state of its own: each packet says whereto, and tells where it came from.
 *
 * Whoever can send to the tunnel's port can claim any identity. So only addresses that nodes announce are listened to, and
 * only identities that a node may speak for: those of the cluster's pods, its own, and none of the world but by address.
 */
#pragma once

#include "config.h"
#include "event.h"
#include "identity.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

#define TUNNEL_TTL 64

/* An address of a node, as maps hold it: not aligned for more than words. */
struct node_address {
	__u32 words[4];
};

/* Both families' world are one on the wire: the packet's own family tells them apart. */
ALWAYS_INLINE __u32 vni_of(__u32 identity)
{
	return identity == IDENTITY_WORLD_IPV4 || identity == IDENTITY_WORLD_IPV6 ||
		       identity >= IDENTITY_LOCAL_FIRST ?
		       IDENTITY_WORLD :
		       identity;
}

/* Another node's host, which may be the API server's too: its address tells. */
ALWAYS_INLINE __u32 identity_of_node(__u8 family, const union addr *address)
{
	const struct ipcache_info *info = ipcache_lookup(family, address);

	if (info && info->identity == IDENTITY_HOST)
		return IDENTITY_UNKNOWN;
	return info && info->identity == IDENTITY_KUBE_APISERVER ? IDENTITY_KUBE_APISERVER : IDENTITY_REMOTE_NODE;
}

/* The world, as far as an address is not known to be somebody's of the cluster. */
ALWAYS_INLINE __u32 identity_of_world(__u8 family, const union addr *address)
{
	__u32 identity = identity_of_destination(family, address);

	if (identity == world(family) || identity == IDENTITY_WORLD ||
	    (identity >= IDENTITY_LOCAL_FIRST && identity <= IDENTITY_LOCAL_LAST))
		return identity;
	return IDENTITY_UNKNOWN;
}

/* Whose packet it is that came with `vni`; IDENTITY_UNKNOWN when no node may send such a one. */
ALWAYS_INLINE __u32 identity_of_vni(__u32 vni, __u8 family, const union addr *source)
{
	switch (vni) {
	case IDENTITY_HOST:
	case IDENTITY_REMOTE_NODE:
	case IDENTITY_KUBE_APISERVER:
		return identity_of_node(family, source);
	case IDENTITY_WORLD:
		return identity_of_world(family, source);
	case IDENTITY_HEALTH:
	case IDENTITY_INIT:
	case IDENTITY_INGRESS:
		return vni;
	default:
		return vni >= IDENTITY_WELL_KNOWN_FIRST && vni <= IDENTITY_CLUSTER_LAST ? vni : IDENTITY_UNKNOWN;
	}
}

/* Whether the packet, or each that the kernel will cut it into, fits into the tunnel. */
ALWAYS_INLINE bool fits_tunnel(struct __sk_buff *skb, const struct packet *packet)
{
	return largest_packet(skb, packet) <= tunnel_mtu;
}

/*
 * What a node takes out of the tunnel when it comes with a node's address, whoever made it. So nobody else's such packet may get
 * an address of this node: not by our translations, and not by those that the host's stack may have.
 */
ALWAYS_INLINE bool is_tunnel(const struct packet *packet)
{
	return tunnel_port && packet->flow.protocol == IPPROTO_UDP && packet->flow.destination_port == tunnel_port;
}

ALWAYS_INLINE __u64 tunnel_flags(void)
{
	return tunnel_ipv6 ? BPF_F_TUNINFO_IPV6 : 0;
}

/* Prepares the packet for the tunnel to a node, on behalf of `identity`. The caller redirects it to tunnel_ifindex. */
OUT_OF_LINE int set_tunnel(struct __sk_buff *skb, const struct node_address *node NONNULL, __u32 identity)
{
	struct bpf_tunnel_key key = { .tunnel_id = vni_of(identity), .tunnel_ttl = TUNNEL_TTL };
	__u64 flags = tunnel_flags();

	if (tunnel_ipv6) {
		__builtin_memcpy(key.remote_ipv6, node, ADDR_BYTES);
	} else {
		/* The packet inside has a checksum of its own; over IPv6 the outer one may not be left out (RFC 6936). */
		flags |= BPF_F_ZERO_CSUM_TX;
		key.remote_ipv4 = bpf_ntohl(node->words[0]);
	}
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) ? DROP_WRITE_ERROR : DROP_NONE;
}

/* Who sent a packet that came out of the tunnel: the node's address as a key of weir_nodes, and the VNI. */
ALWAYS_INLINE bool get_tunnel(struct __sk_buff *skb, struct endpoint_key *node, __u32 *vni)
{
	struct bpf_tunnel_key key = {};

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), tunnel_flags()))
		return false;
	*vni = key.tunnel_id;
	if (tunnel_ipv6) {
		node->family = FAMILY_IPV6;
		__builtin_memcpy(node->addr, key.remote_ipv6, ADDR_BYTES);
	} else {
		node->family = FAMILY_IPV4;
		*(__be32 *)node->addr = bpf_htonl(key.remote_ipv4);
	}
	return true;
}

ALWAYS_INLINE bool is_tunnel_family(__u8 family)
{
	return family == (tunnel_ipv6 ? FAMILY_IPV6 : FAMILY_IPV4);
}

/* The node to which a packet for `address` has to be sent; NULL when it goes through no tunnel. */
ALWAYS_INLINE const struct node_address *tunnel_to_endpoint(__u8 family, const union addr *address)
{
	const struct ipcache_info *info = ipcache_lookup(family, address);

	return info && info->flags & IPCACHE_TUNNEL && is_tunnel_family(info->tunnel_family) ? (const void *)info->tunnel : NULL;
}

/* The same by the pod prefixes of the nodes: for addresses of which nobody has announced more yet. */
ALWAYS_INLINE const struct node_address *tunnel_to_prefix(__u8 family, const union addr *address)
{
	struct ipcache_key key BY_WORDS = { .prefixlen = IPCACHE_FULL_PREFIX(family), .family = family };
	const struct tunnel_info *info;

	__builtin_memcpy(key.addr, address, ADDR_BYTES);
	info = bpf_map_lookup_elem(&weir_tunnel, &key);
	return info && is_tunnel_family(info->family) ? (const void *)info->addr : NULL;
}
