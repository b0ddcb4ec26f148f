/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which frontend an address is. A node port is one at every node of the cluster, and its own node translates what a client
 * asks another node for: the packet need not go there, and would not get through a tunnel under the client's address.
 */
#pragma once

#include "identity.h"
#include "maps.h"
#include "packet.h"

/* Whether the address is one of the cluster's nodes. */
ALWAYS_INLINE bool is_at_node(__u8 family, const union addr *address)
{
	const struct ipcache_info *info = ipcache_lookup(family, address);

	return info && (info->identity == IDENTITY_HOST || info->identity == IDENTITY_REMOTE_NODE ||
			info->identity == IDENTITY_KUBE_APISERVER);
}

/*
 * The frontend at an address for a client of this node; NULL when there is none. The rest of `key` is filled in; its address
 * is then that of the frontend's slots, which is all zero for a port of any node.
 */
ALWAYS_INLINE const struct lb_service *frontend_at(struct lb_service_key *key, const union addr *address)
{
	const struct lb_service *service;

	if (is_unspecified(address))
		return NULL;
	__builtin_memcpy(key->addr, address, ADDR_BYTES);
	service = bpf_map_lookup_elem(&weir_lb_services, key);
	if (service)
		return service;
	__builtin_memset(key->addr, 0, ADDR_BYTES);
	service = bpf_map_lookup_elem(&weir_lb_services, key);
	return service && is_at_node(key->family, address) ? service : NULL;
}
