/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in the programs of one endpoint. */
#pragma once

#include "config_subject.h"

CONFIG(bool, deny_response, false, "Answer what egress policy denies with an ICMP error");
CONFIG(__u8, direct_to_nodes, 0, "Packets for pods of other nodes are routed past the host's stack");
CONFIG(ipv4, endpoint_ipv4, 0, "IPv4 address of the endpoint; all zero when it has none");
CONFIG(struct ipv6, endpoint_ipv6, {}, "IPv6 address of the endpoint; all zero when it has none");
CONFIG(struct mac, endpoint_mac, {}, "MAC address of the pod's end of the veth pair");
CONFIG(struct mac, host_mac, {}, "MAC address of the host's end of the veth pair: what the pod's gateway answers with");
CONFIG(__u32, endpoint_ifindex, 0, "Interface index of the host's end of the veth pair");
