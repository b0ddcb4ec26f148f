/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Why a packet may die. Numbers up to 204 are those that Cilium's monitor and Hubble know, so that their clients name them
 * too; those from 220 on are Weir's own. Every drop in the programs names one of these.
 */
#pragma once

#define DROP_REASONS(X)                                                                \
	X(INVALID_SOURCE_IP, 132, "Invalid source ip")                                 \
	X(POLICY_DENIED, 133, "Policy denied")                                         \
	X(INVALID_PACKET, 134, "Invalid packet")                                       \
	X(CT_INVALID_HEADER, 135, "CT: Truncated or invalid header")                   \
	X(WRITE_ERROR, 141, "Error writing to packet")                                 \
	X(UNKNOWN_L4, 142, "Unknown L4 protocol")                                      \
	X(NO_TUNNEL_KEY, 147, "Error retrieving tunnel key")                           \
	X(UNKNOWN_TARGET, 150, "Unknown L3 target address")                            \
	X(NO_LOCAL_ENDPOINT, 152, "No matching local container found")                 \
	X(CSUM_L3, 153, "Error while correcting L3 checksum")                          \
	X(CSUM_L4, 154, "Error while correcting L4 checksum")                          \
	X(CT_INSERT_FAILED, 155, "CT: Map insertion failed")                           \
	X(INVALID_EXTENSION_HEADER, 156, "Invalid IPv6 extension header")              \
	X(FRAGMENT, 157, "IP fragmentation not supported")                             \
	X(NO_SERVICE, 158, "Service backend not found")                                \
	X(EDT_HORIZON, 162, "Reached EDT rate-limiting drop horizon")                  \
	X(UNSUPPORTED_L2, 166, "Unsupported L2 protocol")                              \
	X(NO_MAPPING, 167, "No mapping for NAT masquerade")                            \
	X(FIB_LOOKUP, 169, "FIB lookup failed")                                        \
	X(IS_CLUSTER_IP, 174, "Is a ClusterIP")                                        \
	X(FORBIDDEN_ICMP6, 176, "Forbidden ICMPv6 message")                            \
	X(NOT_IN_SOURCE_RANGE, 177, "Denied by LB src range check")                    \
	X(POLICY_DENY, 181, "Policy denied by denylist")                               \
	X(AUTH_REQUIRED, 189, "Authentication required")                               \
	X(ENDPOINT_NOT_READY, 203, "Endpoint policy program not available")            \
	X(LOCKDOWN, 220, "Endpoint in lockdown: its policy does not fit its map")      \
	X(NO_PROXY, 221, "Policy redirects to a proxy that is not there")              \
	X(INVALID_ARP, 222, "Forbidden ARP message")                                   \
	X(LINK_LOCAL, 223, "Link-local or multicast traffic is not forwarded")         \
	X(HAIRPIN, 224, "Answer through a service that nobody asked")                  \
	X(TUNNEL_PEER, 240, "Tunnelled by an address that is no node's")               \
	X(TUNNEL_IDENTITY, 241, "Tunnelled with an identity that no node may speak for")

#define DROP_ENUMERATOR(name, number, text) DROP_##name = number,
enum drop_reason {
	DROP_NONE = 0,
	DROP_REASONS(DROP_ENUMERATOR)
};
#undef DROP_ENUMERATOR
