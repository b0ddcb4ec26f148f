/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs of one endpoint, on the host's end of its veth pair.
 *
 *   from_container   TCX ingress: what the pod sends
 *   to_container     TCX egress: what the host's stack sends to the pod
 *   policy_ingress   tail call: what another program has for the pod
 */
#include "lib/bandwidth.h"
#include "lib/config_endpoint.h"
#include "lib/config_masquerade.h"
#include "lib/deny_response.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/hairpin.h"
#include "lib/icmp_error.h"
#include "lib/identity.h"
#include "lib/judge.h"
#include "lib/maps.h"
#include "lib/neighbour.h"
#include "lib/network.h"
#include "lib/overlay.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/proxy.h"
#include "lib/scratch.h"
#include "lib/service.h"

ALWAYS_INLINE struct packet *packet_of_endpoint(struct __sk_buff *skb, __u8 direction, __u8 hook, __u8 origin)
{
	struct packet *packet = new_packet(skb, direction, hook);

	if (!packet)
		return NULL;
	packet->endpoint = endpoint_id;
	packet->identity = endpoint_identity;
	packet->origin = origin;
	return packet;
}

ALWAYS_INLINE bool is_ip(const struct packet *packet)
{
	return packet->ether_type == bpf_htons(ETH_P_IP) || packet->ether_type == bpf_htons(ETH_P_IPV6);
}

ALWAYS_INLINE bool is_own_address(__u8 family, const union addr *address)
{
	if (family == FAMILY_IPV4)
		return endpoint_ipv4 && address->v4 == endpoint_ipv4;
	return is_own_ipv6(address);
}

/* Sends what is for a pod of another node through the tunnel. Returns TC_ACT_UNSPEC when it is not. */
ALWAYS_INLINE int to_other_node(struct __sk_buff *skb, struct packet *packet, bool remarkable)
{
	const struct node_address *node = tunnel_to_endpoint(packet->family, &packet->flow.destination);
	int reason;

	/* What is too large goes by the host's stack, which knows the tunnel's size, and tells the pod or cuts the packet. */
	if (!node || !fits_tunnel(skb, packet))
		return TC_ACT_UNSPEC;
	reason = set_tunnel(skb, node, endpoint_identity);
	if (reason)
		return drop(skb, packet, reason, 0);
	forwarded(skb, packet, TRACE_TO_OVERLAY, remarkable);
	return bpf_redirect(tunnel_ifindex, 0);
}

/* A service without backends: the pod hears of it at once, as from a host that does not listen. */
ALWAYS_INLINE int reject_to_pod(struct __sk_buff *skb, struct packet *packet)
{
	drop(skb, packet, DROP_NO_SERVICE, 0);
	if (!reject_without_backend || answer_port_unreachable(skb, packet) != DROP_NONE ||
	    write_link_addresses(skb, &endpoint_mac, &host_mac))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(endpoint_ifindex, 0);
}

/* Drops what the pod may not send, and tells it when that is policy's word and wanted. */
ALWAYS_INLINE int deny(struct __sk_buff *skb, struct packet *packet, int reason)
{
	int verdict = drop(skb, packet, reason, packet->cookie);

	if (!deny_response || (reason != DROP_POLICY_DENIED && reason != DROP_POLICY_DENY))
		return verdict;
	if (answer_denied(skb, packet) != DROP_NONE || write_link_addresses(skb, &endpoint_mac, &host_mac))
		return verdict;
	return bpf_redirect_peer(endpoint_ifindex, 0);
}

/* Why the host's stack is not to have what a pod sends, or DROP_NONE. */
ALWAYS_INLINE int refusal_by_host(const struct packet *packet)
{
	/* Where route_localnet is set, as by kube-proxy, it would be heard by who listens for the node alone. */
	if (is_of_no_link(packet->family, &packet->flow.destination))
		return DROP_LINK_LOCAL;
	return is_tunnel(packet) ? DROP_TUNNEL_PEER : DROP_NONE;
}

/* Whether the device that it leaves by is to look at it: not when it is an answer, or stays in the cluster for sure. */
ALWAYS_INLINE bool may_be_to_world(const struct packet *packet)
{
	switch (packet->ct_status) {
	case CT_STATUS_NEW:
	case CT_STATUS_ESTABLISHED:
		return may_be_outside(packet->peer_identity);
	case CT_STATUS_REPLY:
		return false;
	default:
		return true;
	}
}

/* Whether it is for the node, and no answer to what the node asked. */
ALWAYS_INLINE bool asks_host(const struct packet *packet)
{
	return packet->peer_identity == IDENTITY_HOST && packet->ct_status != CT_STATUS_REPLY &&
	       packet->ct_status != CT_STATUS_RELATED;
}

SEC("tc")
int from_container(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_endpoint(skb, DIRECTION_EGRESS, HOOK_FROM_CONTAINER, ORIGIN_CARRIED);
	bool remarkable = false;
	int reason;

	if (!packet)
		return NO_SCRATCH;
	/* A pod's link has no VLANs, and the tag would go along with the packet, out by whatever device. */
	if (skb->vlan_present)
		return drop(skb, packet, DROP_UNSUPPORTED_L2, 0);
	if (packet->ether_type == bpf_htons(ETH_P_ARP))
		return arp_from_container(skb, packet);
	if (!is_ip(packet))
		return drop(skb, packet, DROP_UNSUPPORTED_L2, 0);
	reason = parse(skb, packet);
	if (reason)
		return drop(skb, packet, reason, 0);
	if (is_link_control(packet))
		return link_control_from_container(skb, packet);
	/* Asked first: what is meant for the link may rightly come from an address of the link, or from none (DHCP). */
	if (stays_on_link(packet->family, &packet->flow.destination))
		return drop(skb, packet, DROP_LINK_LOCAL, 0);
	if (!is_own_address(packet->family, &packet->flow.source))
		return drop(skb, packet, DROP_INVALID_SOURCE_IP, 0);

	if (is_hairpin_address(packet->family, &packet->flow.destination))
		return hairpin_answer(skb, packet);
	reason = judge(skb, packet, true, &remarkable);
	if (reason == DROP_HAIRPIN)
		return hairpin(skb, packet);
	if (reason == DROP_NO_SERVICE)
		return reject_to_pod(skb, packet);
	if (reason)
		return deny(skb, packet, reason);
	if (packet->state & STATE_EGRESS_LIMITED && !pay(skb, packet))
		return drop(skb, packet, DROP_EDT_HORIZON, 0);
	if (packet->rev_nat) {
		reason = from_frontend(skb, packet);
		if (reason)
			return drop(skb, packet, reason, packet->cookie);
		forwarded(skb, packet, TRACE_TO_NETWORK, remarkable);
		return to_network(skb, packet);
	}

	if (packet->proxy_port) {
		reason = to_proxy(skb, packet);
		if (reason)
			return drop(skb, packet, reason, packet->cookie);
		forwarded(skb, packet, TRACE_TO_PROXY, remarkable);
		return TC_ACT_OK;
	}
	if (packet->peer_endpoint) {
		handed_over(skb, packet);
		return call_ingress_policy(skb, packet, packet->peer_endpoint, endpoint_identity);
	}
	if (direct_to_nodes && is_of_cluster(packet->peer_identity)) {
		int verdict = to_next_hop(skb, packet);

		if (verdict == TC_ACT_REDIRECT)
			forwarded(skb, packet, TRACE_TO_NETWORK, remarkable);
		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	if (tunnel) {
		int verdict = to_other_node(skb, packet, remarkable);

		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	reason = refusal_by_host(packet);
	if (reason)
		return drop(skb, packet, reason, packet->cookie);
	if (masquerades(packet->family) && may_be_to_world(packet))
		skb->mark = MARK_TO_WORLD;
	forwarded(skb, packet, TRACE_TO_STACK, remarkable);
	if (asks_host(packet))
		call_host_policy(skb, endpoint_identity);
	return TC_ACT_OK;
}

/* Judges a packet on its way into the pod. */
ALWAYS_INLINE int enter(struct __sk_buff *skb, struct packet *packet)
{
	bool remarkable = false;
	int reason;

	/* An address that moved to another endpoint must not deliver to this one under this one's policy. */
	if (!is_own_address(packet->family, &packet->flow.destination))
		return drop(skb, packet, DROP_UNKNOWN_TARGET, 0);
	reason = judge(skb, packet, false, &remarkable);
	if (reason)
		return drop(skb, packet, reason, packet->cookie);
	if (packet->state & STATE_INGRESS_LIMITED && !pay(skb, packet))
		return drop(skb, packet, DROP_EDT_HORIZON, 0);
	if (packet->rev_nat) {
		reason = from_frontend(skb, packet);
		if (reason)
			return drop(skb, packet, reason, packet->cookie);
	}
	forwarded(skb, packet, TRACE_TO_ENDPOINT, remarkable);
	return TC_ACT_OK;
}

SEC("tc")
int to_container(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_endpoint(skb, DIRECTION_INGRESS, HOOK_TO_CONTAINER, ORIGIN_STACK);
	int reason;

	if (!packet)
		return NO_SCRATCH;
	/* Our own answers, and the host looking for the pod. */
	if (packet->ether_type == bpf_htons(ETH_P_ARP))
		return TC_ACT_OK;
	if (!is_ip(packet))
		return drop(skb, packet, DROP_UNSUPPORTED_L2, 0);
	reason = parse(skb, packet);
	if (reason)
		return drop(skb, packet, reason, 0);
	if (is_link_control(packet)) {
		if (packet->icmp_type != ND_NEIGHBOUR_SOLICIT && packet->icmp_type != ND_NEIGHBOUR_ADVERT)
			return drop_quietly(skb, packet, DROP_LINK_LOCAL);
		/* A hop limit of 255 proves that it was not forwarded here from another link. */
		return packet->hop_limit == ND_HOP_LIMIT ? TC_ACT_OK : drop(skb, packet, DROP_FORBIDDEN_ICMP6, 0);
	}
	if (stays_on_link(packet->family, &packet->flow.destination))
		return drop_quietly(skb, packet, DROP_LINK_LOCAL);
	return enter(skb, packet);
}

SEC("tc")
int policy_ingress(struct __sk_buff *skb)
{
	struct packet *packet = packet_of_endpoint(skb, DIRECTION_INGRESS, HOOK_POLICY_INGRESS, ORIGIN_CARRIED);
	int reason, verdict;

	if (!packet)
		return NO_SCRATCH;
	reason = parse(skb, packet);
	if (reason)
		return drop(skb, packet, reason, 0);
	packet->frontend = skb->cb[CB_FRONTEND];
	verdict = enter(skb, packet);
	if (verdict != TC_ACT_OK)
		return verdict;
	if (write_link_addresses(skb, &endpoint_mac, &host_mac))
		return drop(skb, packet, DROP_WRITE_ERROR, 0);
	return bpf_redirect_peer(endpoint_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
