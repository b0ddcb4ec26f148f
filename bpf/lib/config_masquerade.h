/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in the programs that let pods speak to the world under the node's address. */
#pragma once

#include "config.h"
#include "packet.h"

/* Numbers, as in config_lb.h: few packets go to the world. */
CONFIG(__u8, masquerade_ipv4, 0, "1: pods' IPv4 packets leave the cluster under the node's address");
CONFIG(__u8, masquerade_ipv6, 0, "1: pods' IPv6 packets leave the cluster under the node's address");

ALWAYS_INLINE bool masquerades(__u8 family)
{
	return family == FAMILY_IPV4 ? masquerade_ipv4 : masquerade_ipv6;
}
