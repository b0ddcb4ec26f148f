/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the loader embeds in a program before it is loaded. The verifier sees these as constants, so a feature that is off
 * costs nothing. The descriptions travel in BTF and become the comments of bpf/gen/config.ts.
 */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

#include "types.h"

#define CONFIG(type, name, value, description)                                                   \
	__attribute__((section(".rodata.config"), btf_decl_tag(description))) volatile const type name = value

/* Aligned, so that they are read a word at a time. */
struct mac {
	__u8 bytes[MAC_BYTES];
} __attribute__((aligned(8)));

struct ipv6 {
	__u8 bytes[ADDR_BYTES];
} __attribute__((aligned(8)));

/* Of every program. */

CONFIG(bool, drop_events, true, "Report every dropped packet in weir_events");
CONFIG(bool, verdict_events, true, "Report the policy verdict on every new connection in weir_events");
CONFIG(bool, trace_events, false, "Report forwarded packets in weir_events, as trace_aggregation says");
CONFIG(__u8, trace_aggregation, AGGREGATE_MEDIUM, "Which forwarded packets are reported (enum trace_aggregation)");
CONFIG(__u8, trace_flags, 0x07, "TCP flags that are worth a trace when a connection shows them for the first time that way");
CONFIG(__u32, trace_interval, 5000, "Milliseconds after which a connection is traced again, each way");
CONFIG(__u64, event_cost, 0, "Nanoseconds in which a CPU may report one event of a type; 0 is no limit");
CONFIG(__u64, event_burst, 0, "Nanoseconds that a CPU may save up");
CONFIG(bool, policy_accounting, false, "Count what each policy entry decides in weir_policystats");

CONFIG(bool, tunnel, false, "Packets for pods of other nodes travel inside others");
CONFIG(bool, tunnel_ipv6, false, "The packets outside are IPv6");
CONFIG(__u32, tunnel_ifindex, 0, "Interface index of weir_vxlan");
CONFIG(__be16, tunnel_port, 0, "UDP port of the tunnel between nodes; 0 when there is none");
CONFIG(__u32, tunnel_mtu, 0, "Bytes of the largest IP packet that fits into the tunnel");

/* None may be below one second: see ct_is_fresh. */
CONFIG(__u32, tcp_established_seconds, 8000, "Lifetime of an idle established TCP connection");
CONFIG(__u32, tcp_syn_seconds, 60, "Lifetime of a TCP connection that nobody answered");
CONFIG(__u32, tcp_closing_seconds, 10, "Lifetime of a TCP connection after FIN in both directions, or after RST");
CONFIG(__u32, other_seconds, 60, "Lifetime of an idle connection of any other protocol");
