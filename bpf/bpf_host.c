/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs of the node's own devices.
 *
 *   from_netdev   TCX ingress of an external device: what the network sends, to pods and to the node
 *   to_netdev     TCX egress of an external device: what leaves the node
 *   from_host     TCX egress of weir_host: what the host's stack routes into the pod range without an endpoint's own route
 *   host_policy   tail call, if there is a host firewall: what a pod of this node has for the node
 */
#include "lib/config_host.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/host_firewall.h"
#include "lib/identity.h"
#include "lib/maps.h"
#include "lib/mark.h"
#include "lib/masquerade.h"
#include "lib/overlay.h"
#include "lib/nodeport.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/scratch.h"

ALWAYS_INLINE struct packet *packet_of_device(struct __sk_buff *skb, __u8 direction, __u8 hook)
{
	struct packet *packet = new_packet(skb, direction, hook);

	if (packet)
		packet->identity = IDENTITY_HOST;
	return packet;
}

ALWAYS_INLINE bool is_ip(const struct packet *packet)
{
	return packet->ether_type == bpf_htons(ETH_P_IP) || packet->ether_type == bpf_htons(ETH_P_IPV6);
}

/* IEEE 802.1Q: the part of a tag that names the VLAN. */
#define VLAN_ID 0x0fff

/*
 * Of another link than the device itself: of a VLAN, whose own device sees the packet before or after. The tag stands beside the
 * packet, and would go along with it. Priority tags (VLAN 0) are of no VLAN.
 */
ALWAYS_INLINE bool is_of_vlan(struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_device(skb, DIRECTION_INGRESS, HOOK_FROM_NETDEV);
	const struct endpoint_info *local;
	bool of_vlan;

	if (!packet)
		return NO_SCRATCH;
	/* What is not for a pod of this node is the host's, and its stack's to refuse when it makes no sense. */
	if (!is_ip(packet) || skb->pkt_type == PACKET_OTHERHOST || parse_addresses(skb, packet))
		return TCX_NEXT;
	of_vlan = is_of_vlan(skb);
	local = of_vlan ? NULL : local_endpoint(packet->family, &packet->flow.destination);
	if (!is_pod(local)) {
		int verdict = skb->pkt_type == PACKET_HOST && !of_vlan ? translated(skb, packet) : NOT_A_SERVICE;

		if (verdict != NOT_A_SERVICE)
			return verdict;
		if (host_firewall)
			return host_ingress(skb, packet);
		if (packet->frontend)
			note_host_backend(skb, packet);
		return TCX_NEXT;
	}
	/* The stack forwards nothing that was sent to everybody. */
	if (skb->pkt_type != PACKET_HOST)
		return TCX_NEXT;
	/* This node's pods are not out there: who claims to be one on the wire is lying. */
	if (is_pod(local_endpoint(packet->family, &packet->flow.source)))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	/* And those of other nodes come through the tunnel. */
	if (tunnel && tunnel_to_endpoint(packet->family, &packet->flow.source))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	packet->peer_identity = identity_of_source(packet->family, &packet->flow.source);
	forwarded(skb, packet, TRACE_FROM_NETWORK, false);
	return call_ingress_policy(skb, packet, local->id, packet->peer_identity);
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_device(skb, DIRECTION_EGRESS, HOOK_TO_NETDEV);

	if (!packet)
		return NO_SCRATCH;
	if ((masquerade_ipv4 || masquerade_ipv6) && is_ip(packet) && !is_of_vlan(skb) && is_pods_to_world(skb, packet)) {
		int reason = masquerade(skb, packet);

		if (reason != DROP_NONE)
			return drop(skb, packet, reason, 0);
		/* The node forwards it, under whichever address: its own policy has no word in that. */
	} else if (host_firewall && is_ip(packet)) {
		int verdict = host_egress(skb, packet);

		if (verdict != TCX_NEXT)
			return verdict;
	} else if (!skb->ingress_ifindex && is_ip(packet) && awaits_host_answers()) {
		find_frontend_of_answer(skb, packet);
	} else if (traces_every_packet(TRACE_TO_NETWORK) && is_ip(packet)) {
		parse_addresses(skb, packet);
	}
	/* A socket of the node answers a client of a service. */
	if (packet->rev_nat) {
		int reason = from_frontend(skb, packet);

		if (reason != DROP_NONE)
			return drop(skb, packet, reason, 0);
	}
	forwarded(skb, packet, TRACE_TO_NETWORK, false);
	return TCX_NEXT;
}

/*
 * On whose behalf the host's stack sends a packet through the tunnel; IDENTITY_UNKNOWN when it must not. The other node
 * believes what is said, so an address alone makes nobody a pod of the cluster: a pod of this node is one by the device
 * that its packet came from.
 */
ALWAYS_INLINE __u32 tunnelled_identity(struct __sk_buff *skb, const struct packet *packet)
{
	const struct endpoint_info *local;

	if (sent_by_local_socket(skb) && has_mark(skb->mark, MARK_PROXY_EGRESS))
		return identity_of_mark(skb->mark);
	local = local_endpoint(packet->family, &packet->flow.source);
	if (is_pod(local))
		return skb->ingress_ifindex == local->ifindex ? local->identity : IDENTITY_UNKNOWN;
	/*
	 * What was received lacks this only when the stack has put fragments of IPv6 together and cut them again. Else it is
	 * what the stack makes itself, with a socket or, as a SYN-ACK, without.
	 */
	if (!skb->ingress_ifindex)
		return IDENTITY_HOST;
	return identity_of_world(packet->family, &packet->flow.source);
}

/* Sends what the host's stack has for a pod of another node through the tunnel. */
ALWAYS_INLINE int to_other_node(struct __sk_buff *skb, struct packet *packet)
{
	const struct node_address *node = tunnel_to_endpoint(packet->family, &packet->flow.destination);
	int reason;

	if (!node)
		node = tunnel_to_prefix(packet->family, &packet->flow.destination);
	if (!node)
		return drop(skb, packet, DROP_NO_LOCAL_ENDPOINT, 0);
	packet->identity = tunnelled_identity(skb, packet);
	if (packet->identity == IDENTITY_UNKNOWN)
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);
	reason = set_tunnel(skb, node, packet->identity);
	if (reason)
		return drop(skb, packet, reason, 0);
	forwarded(skb, packet, TRACE_TO_OVERLAY, false);
	return bpf_redirect(tunnel_ifindex, 0);
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_device(skb, DIRECTION_EGRESS, HOOK_FROM_HOST);
	const struct endpoint_info *local;

	if (!packet)
		return NO_SCRATCH;
	if (!is_ip(packet))
		return TCX_NEXT;
	if (parse_addresses(skb, packet))
		return drop(skb, packet, DROP_INVALID_PACKET, 0);
	if (stays_on_link(packet->family, &packet->flow.destination))
		return TCX_NEXT;
	local = local_endpoint(packet->family, &packet->flow.destination);
	if (tunnel && !local)
		return to_other_node(skb, packet);
	if (!is_pod(local))
		return drop(skb, packet, DROP_NO_LOCAL_ENDPOINT, 0);
	/* Through the pod's own to_container, which judges: the socket that proves the host travels with the packet. */
	if (bpf_skb_store_bytes(skb, 0, local->mac, MAC_BYTES, 0))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	handed_over(skb, packet);
	return bpf_redirect(local->ifindex, 0);
}

SEC("tc")
int host_policy(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_device(skb, DIRECTION_INGRESS, HOOK_POLICY_INGRESS);
	int reason;

	if (!packet)
		return NO_SCRATCH;
	reason = parse(skb, packet);
	if (reason)
		return drop(skb, packet, reason, 0);
	return judge_host(skb, packet) == TCX_NEXT ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
