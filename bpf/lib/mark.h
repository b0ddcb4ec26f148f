/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What skb->mark says of a packet of this node. A mark does not leave its network namespace, and only the privileged can
 * set one on a socket: what a local socket sends with it is true.
 */
#pragma once

#include "packet.h"

ALWAYS_INLINE bool has_mark(__u32 mark, __u32 kind)
{
	return (mark & MARK_KIND) == kind;
}

/* The identity that a packet carries: its low 16 bits stand in the upper half of the mark, the next 8 in the lowest byte. */
ALWAYS_INLINE __u32 identity_of_mark(__u32 mark)
{
	return mark >> 16 | (mark & 0xff) << 16;
}

ALWAYS_INLINE __u32 mark_with_identity(__u32 kind, __u32 identity)
{
	return identity << 16 | kind | (identity >> 16 & 0xff);
}
