/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs of the tunnel's device, weir_vxlan.
 *
 *   from_overlay  TCX ingress: what other nodes send, taken out of the tunnel
 *   to_overlay    TCX egress: what goes into it
 */
#include "lib/config.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/identity.h"
#include "lib/lb_snat.h"
#include "lib/maps.h"
#include "lib/overlay.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/scratch.h"

ALWAYS_INLINE bool is_ip(const struct packet *packet)
{
	return packet->ether_type == bpf_htons(ETH_P_IP) || packet->ether_type == bpf_htons(ETH_P_IPV6);
}

/* Hands the packet to the host's stack as if it had come in by weir_host, where the way back leads. */
ALWAYS_INLINE int to_host(struct __sk_buff *skb, struct packet *packet, const struct endpoint_info *host)
{
	if (bpf_skb_store_bytes(skb, 0, host->mac, MAC_BYTES, 0))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	forwarded(skb, packet, TRACE_FROM_OVERLAY, false);
	return bpf_redirect(host->ifindex, BPF_F_INGRESS);
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet *packet = new_packet(skb, DIRECTION_INGRESS, HOOK_FROM_OVERLAY);
	struct endpoint_key node BY_WORDS = {};
	const struct endpoint_info *local;
	__u32 vni = 0;

	if (!packet)
		return NO_SCRATCH;
	packet->identity = IDENTITY_HOST;
	/* A tag would go along with the packet. */
	if (!is_ip(packet) || skb->vlan_present)
		return drop(skb, packet, DROP_UNSUPPORTED_L2, 0);
	if (parse_addresses(skb, packet))
		return drop(skb, packet, DROP_INVALID_PACKET, 0);
	if (!get_tunnel(skb, &node, &vni))
		return drop(skb, packet, DROP_NO_TUNNEL_KEY, 0);
	if (!bpf_map_lookup_elem(&weir_nodes, &node))
		return drop(skb, packet, DROP_TUNNEL_PEER, 0);
	/* This node's own addresses are not out there: who claims to have one is lying. */
	if (local_endpoint(packet->family, &packet->flow.source))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	packet->peer_identity = identity_of_vni(vni, packet->family, &packet->flow.source);
	if (packet->peer_identity == IDENTITY_UNKNOWN) {
		packet->peer_identity = vni;
		return drop(skb, packet, DROP_TUNNEL_IDENTITY, 0);
	}
	local = local_endpoint(packet->family, &packet->flow.destination);
	if (!local)
		return drop(skb, packet, DROP_NO_LOCAL_ENDPOINT, 0);
	if (!is_pod(local)) {
		int verdict = parse(skb, packet) == DROP_NONE ? answer_of_remote_backend(skb, packet) : TCX_NEXT;

		return verdict == TCX_NEXT ? to_host(skb, packet, local) : verdict;
	}
	forwarded(skb, packet, TRACE_FROM_OVERLAY, false);
	return call_ingress_policy(skb, packet, local->id, packet->peer_identity);
}

SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	struct packet *packet = new_packet(skb, DIRECTION_EGRESS, HOOK_TO_OVERLAY);

	if (!packet)
		return NO_SCRATCH;
	packet->identity = IDENTITY_HOST;
	if (traces_every_packet(TRACE_TO_OVERLAY) && is_ip(packet))
		parse_addresses(skb, packet);
	forwarded(skb, packet, TRACE_TO_OVERLAY, false);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
