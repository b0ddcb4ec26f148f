/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is at an address. */
#pragma once

#include "maps.h"
#include "packet.h"

#define IPCACHE_FULL_PREFIX(family) (IPCACHE_STATIC_BITS + ((family) == FAMILY_IPV4 ? 32 : 128))

ALWAYS_INLINE const struct ipcache_info *ipcache_lookup(__u8 family, const union addr *address)
{
	struct ipcache_key key BY_WORDS = { .prefixlen = IPCACHE_FULL_PREFIX(family), .family = family };

	__builtin_memcpy(key.addr, address, ADDR_BYTES);
	return bpf_map_lookup_elem(&weir_ipcache, &key);
}

ALWAYS_INLINE __u32 world(__u8 family)
{
	return family == FAMILY_IPV4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

/* What the ipcache does not know is the world. */
ALWAYS_INLINE __u32 identity_of_destination(__u8 family, const union addr *address)
{
	const struct ipcache_info *info = ipcache_lookup(family, address);

	return info && info->identity != IDENTITY_UNKNOWN ? info->identity : world(family);
}

/* Whether an identity may be that of somebody outside of the cluster. An API server's address may be a node's, or not. */
ALWAYS_INLINE bool may_be_outside(__u32 identity)
{
	return identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 || identity == IDENTITY_WORLD_IPV6 ||
	       identity == IDENTITY_KUBE_APISERVER ||
	       (identity >= IDENTITY_LOCAL_FIRST && identity <= IDENTITY_LOCAL_LAST);
}

/*
 * A source address is a claim. Traffic from anywhere may carry the node's address after masquerading, so an address alone
 * never makes its sender the host: it is the world that was translated.
 */
ALWAYS_INLINE __u32 identity_of_source(__u8 family, const union addr *address)
{
	__u32 identity = identity_of_destination(family, address);

	return identity == IDENTITY_HOST ? world(family) : identity;
}

/* One of this node's own. */
ALWAYS_INLINE bool is_host_address(__u8 family, const union addr *address)
{
	const struct ipcache_info *info = ipcache_lookup(family, address);

	return info && info->identity == IDENTITY_HOST;
}

/* A pod's, of whichever node: not the world's, not a host's. */
ALWAYS_INLINE bool is_of_cluster(__u32 identity)
{
	return identity >= IDENTITY_WELL_KNOWN_FIRST && identity <= IDENTITY_CLUSTER_LAST;
}

/*
 * A full socket on a packet that no device brought here is a socket of this host. Of those that came by a device, the stack's
 * forwarding parts them from their sockets (ip_rcv), but redirecting does not: a pod's packet may still bear the pod's.
 */
ALWAYS_INLINE bool sent_by_local_socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return !skb->ingress_ifindex && sk && bpf_sk_fullsock(sk);
}
