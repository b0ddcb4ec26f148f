/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Never loaded: compiled only so that hack/bpf-gen.ts finds in one object every map, every layout and every constant that
 * TypeScript needs, also those that no program happens to use as a map's key or value.
 */
#include "types.h"
#include "drop_reasons.h"
#include "maps.h"

/* A compiler drops types that nothing refers to. */
#define KEEP(kind, type) kind type *weir_keep_##type;

KEEP(struct, event)
KEEP(struct, traffic)
KEEP(enum, mark)
KEEP(enum, direction)
KEEP(enum, family)
KEEP(enum, reserved_identity)
KEEP(enum, identity_scope)
KEEP(enum, endpoint_flags)
KEEP(enum, ipcache_bits)
KEEP(enum, ipcache_flags)
KEEP(enum, policy_bits)
KEEP(enum, policy_flags)
KEEP(enum, auth_type)
KEEP(enum, endpoint_state_flags)
KEEP(enum, ct_scope)
KEEP(enum, ct_flags)
KEEP(enum, ct_closing)
KEEP(enum, ct_judged)
KEEP(enum, ct_verdict)
KEEP(enum, ct_way)
KEEP(struct, lb_maglev_key)
KEEP(enum, lb_scope)
KEEP(enum, lb_flags)
KEEP(enum, lb_client_kind)
KEEP(enum, lb_source_bits)
KEEP(enum, lb_maglev_size)
KEEP(enum, nat_way)
KEEP(enum, nat_ports)
KEEP(enum, lb_kind)
KEEP(enum, lb_state)
KEEP(enum, metrics_direction)
KEEP(enum, metrics_index)
KEEP(enum, event_type)
KEEP(enum, event_types)
KEEP(enum, trace_aggregation)
KEEP(enum, trace_point)
KEEP(enum, ct_status)
KEEP(enum, match_kind)
KEEP(enum, verdict)
KEEP(enum, hook)
KEEP(enum, drop_reason)

/* Records of 64 bytes: number, then text. */
#define DROP_TEXT(name, number, text) { number, text },
const struct drop_text {
	__u32 reason;
	char  text[60];
} weir_drop_texts[] __attribute__((section(".weir.drop_texts"))) = { DROP_REASONS(DROP_TEXT) };
