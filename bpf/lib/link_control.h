/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What keeps a link going, and no policy is asked about. */
#pragma once

#include "packet.h"

#define ND_ROUTER_SOLICIT    133
#define ND_NEIGHBOUR_SOLICIT 135
#define ND_NEIGHBOUR_ADVERT  136
#define ND_LAST              137
#define MLD_FIRST            130
#define MLD_LAST             132
#define MLD2_REPORT          143

/* ICMPv6 that keeps a link going: types 130 to 137 and 143. */
ALWAYS_INLINE bool is_link_control(const struct packet *packet)
{
	if (packet->family != FAMILY_IPV6 || packet->flow.protocol != IPPROTO_ICMPV6)
		return false;
	return (packet->icmp_type >= MLD_FIRST && packet->icmp_type <= ND_LAST) || packet->icmp_type == MLD2_REPORT;
}
