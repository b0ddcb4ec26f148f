/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services, packet by packet: what goes to a frontend goes to one of its backends, and what a backend answers comes from the
 * frontend. Policy and conntrack know only the backend.
 */
#pragma once

#include "backend.h"
#include "config.h"
#include "frontend.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

#define IPV4_CHECKSUM_OFFSET offsetof(struct iphdr, check)
#define TCP_CHECKSUM_OFFSET  16
#define UDP_CHECKSUM_OFFSET  6
#define ICMP_CHECKSUM_OFFSET 2

enum packet_end { END_SOURCE, END_DESTINATION };

/* Where an address stands in the IP header. */
ALWAYS_INLINE __u32 address_offset(__u8 family, __u8 end)
{
	if (family == FAMILY_IPV4)
		return end == END_SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
	return end == END_SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
}

ALWAYS_INLINE __u32 address_bytes(__u8 family)
{
	return family == FAMILY_IPV4 ? sizeof(ipv4) : ADDR_BYTES;
}

/* What an IPv6 address changes in a checksum that covers it. */
ALWAYS_INLINE __s64 checksum_change(const union addr *from, const union addr *to)
{
	return bpf_csum_diff((__be32 *)from, ADDR_BYTES, (__be32 *)to, ADDR_BYTES, 0);
}

/* Where a port stands in the transport header; the identifier of an ICMP echo is its sender's. */
ALWAYS_INLINE __u32 port_offset(__u8 family, __u8 protocol, __u8 end)
{
	if (is_icmp(family, protocol))
		return offsetof(struct icmp_header, identifier);
	return end == END_SOURCE ? offsetof(struct port_header, source) : offsetof(struct port_header, destination);
}

ALWAYS_INLINE __u32 checksum_offset(__u8 family, __u8 protocol)
{
	if (is_icmp(family, protocol))
		return ICMP_CHECKSUM_OFFSET;
	return protocol == IPPROTO_UDP ? UDP_CHECKSUM_OFFSET : TCP_CHECKSUM_OFFSET;
}

/* Brings the transport checksum, which covers the addresses too, to the new address and port. */
ALWAYS_INLINE int correct_transport_checksum(struct __sk_buff *skb, const struct packet *packet, const union addr *from,
					     const union addr *to, __be16 from_port, __be16 to_port)
{
	bool udp = packet->flow.protocol == IPPROTO_UDP;
	__u32 offset = packet->payload + checksum_offset(packet->family, packet->flow.protocol);
	/* In UDP over IPv4, 0 says that there is none, and a sum that comes out as 0 is written otherwise. */
	__u64 flags = BPF_F_PSEUDO_HDR | (udp ? BPF_F_MARK_MANGLED_0 : 0);

	/* Its CRC does not cover addresses, but does cover ports: those have to stay. */
	if (packet->flow.protocol == IPPROTO_SCTP)
		return from_port == to_port ? DROP_NONE : DROP_UNKNOWN_L4;
	if (packet->family == FAMILY_IPV4) {
		/* That of ICMP covers no addresses (RFC 792), that of ICMPv6 does. */
		if (packet->flow.protocol != IPPROTO_ICMP &&
		    bpf_l4_csum_replace(skb, offset, from->v4, to->v4, flags | sizeof(ipv4)))
			return DROP_CSUM_L4;
	} else {
		__s64 change = checksum_change(from, to);

		if (bpf_l4_csum_replace(skb, offset, 0, change, flags))
			return DROP_CSUM_L4;
		/*
		 * The kernel believes that a header checksum makes up for the address, as in IPv4, and has taken the
		 * change out of the sum over the whole packet. Put it back; without such a sum this does nothing.
		 */
		bpf_csum_update(skb, change);
	}
	if (from_port != to_port &&
	    bpf_l4_csum_replace(skb, offset, from_port, to_port, (flags & ~BPF_F_PSEUDO_HDR) | sizeof(__be16)))
		return DROP_CSUM_L4;
	return DROP_NONE;
}

/* Writes one end of a packet anew: address, port and checksums. The packet's context keeps what it says. */
OUT_OF_LINE int rewrite_end(struct __sk_buff *skb, const struct packet *packet NONNULL,
			    const struct lb_socket *to NONNULL, __u8 end)
{
	const struct flow *flow = &packet->flow;
	__be16 from_port = end == END_SOURCE ? flow->source_port : flow->destination_port;
	union addr from, address;
	__be16 port = to->port;
	int reason;

	__builtin_memcpy(&from, end == END_SOURCE ? &flow->source : &flow->destination, ADDR_BYTES);
	__builtin_memcpy(&address, to->addr, ADDR_BYTES);
	/* The first fragment's checksum stands for all of the datagram. */
	if (!(packet->shape & PACKET_LATER_FRAGMENT)) {
		reason = correct_transport_checksum(skb, packet, &from, &address, from_port, port);
		if (reason != DROP_NONE)
			return reason;
		if (from_port != port &&
		    bpf_skb_store_bytes(skb, packet->payload + port_offset(packet->family, flow->protocol, end), &port,
					sizeof(port), 0))
			return DROP_WRITE_ERROR;
	}
	if (packet->family == FAMILY_IPV4 &&
	    bpf_l3_csum_replace(skb, ETH_HLEN + IPV4_CHECKSUM_OFFSET, from.v4, address.v4, sizeof(ipv4)))
		return DROP_CSUM_L3;
	if (bpf_skb_store_bytes(skb, ETH_HLEN + address_offset(packet->family, end), &address,
				address_bytes(packet->family), 0))
		return DROP_WRITE_ERROR;
	return DROP_NONE;
}

/*
 * The backend that the connection has already. One that is going keeps it, but gets no other of the same ports. Other protocols
 * do not tell where one begins, and some clients never change their port: they leave a backend that does not answer.
 */
ALWAYS_INLINE const struct lb_socket *kept_backend(const struct lb_flow_key *flow, bool opens)
{
	const __u32 *id = bpf_map_lookup_elem(&weir_lb_flows, flow);
	const struct lb_socket *backend;

	if (!id)
		return NULL;
	backend = bpf_map_lookup_elem(&weir_lb_backends, id);
	if (!backend || backend->state == LB_ACTIVE)
		return backend;
	return opens || (backend->protocol != IPPROTO_TCP && backend->state == LB_UNREADY) ? NULL : backend;
}

ALWAYS_INLINE const struct lb_socket *chosen_backend(struct lb_service_key *key, const struct lb_service *service,
						     const struct lb_flow_key *flow_key, const struct flow *flow)
{
	struct lb_client client BY_WORDS = { .id = flow->source, .kind = LB_CLIENT_ADDRESS };
	__u32 id = lb_choose(key, service, &client, lb_flow_hash(flow));

	if (!id)
		return NULL;
	bpf_map_update_elem(&weir_lb_flows, flow_key, &id, BPF_ANY);
	return lb_backend(id);
}

/* Where a packet that goes to a frontend is to go instead: to the backend of its connection, or a new one; NULL is nowhere. */
ALWAYS_INLINE const struct lb_socket *backend_for(const struct packet *packet, struct lb_service_key *key,
						  const struct lb_service *service)
{
	const struct flow *flow = &packet->flow;
	struct lb_flow_key flow_key BY_WORDS = { .client_port = flow->source_port, .service = service->id };
	bool opens = flow->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	const struct lb_socket *backend;

	__builtin_memcpy(flow_key.client, &flow->source, ADDR_BYTES);
	backend = kept_backend(&flow_key, opens);
	if (!backend)
		backend = chosen_backend(key, service, &flow_key, flow);
	return backend && backend->family == packet->family ? backend : NULL;
}

/* The key of slot 0 of the frontend that a packet may be for, but for its address. */
ALWAYS_INLINE void frontend_key(const struct packet *packet, struct lb_service_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->port = packet->flow.destination_port;
	key->protocol = packet->flow.protocol;
	key->family = packet->family;
	key->scope = LB_SCOPE_INTERNAL;
}

/* Remembers which node the packet asks, unless that is what is remembered. False when it cannot be. */
ALWAYS_INLINE bool remember_asked(const struct packet *packet, __u16 service)
{
	struct lb_flow_key key BY_WORDS = { .client_port = packet->flow.source_port, .service = service };
	const struct lb_asked *known;
	struct lb_asked asked BY_WORDS;
	union addr address;

	__builtin_memcpy(key.client, &packet->flow.source, ADDR_BYTES);
	known = bpf_map_lookup_elem(&weir_lb_asked, &key);
	if (known) {
		__builtin_memcpy(&address, known->addr, ADDR_BYTES);
		if (same_address(&address, &packet->flow.destination))
			return true;
	}
	__builtin_memcpy(asked.addr, &packet->flow.destination, ADDR_BYTES);
	return !bpf_map_update_elem(&weir_lb_asked, &key, &asked, BPF_ANY);
}

/* Sends a packet to a backend of the frontend `service`. */
ALWAYS_INLINE int readdress(struct __sk_buff *skb, struct packet *packet, const struct lb_socket *backend, __u16 service)
{
	int reason = rewrite_end(skb, packet, backend, END_DESTINATION);

	if (reason != DROP_NONE)
		return reason;
	__builtin_memcpy(&packet->flow.destination, backend->addr, ADDR_BYTES);
	packet->flow.destination_port = backend->port;
	packet->policy_port = backend->port;
	packet->frontend = service;
	return DROP_NONE;
}

/*
 * Sends a pod's packet that goes to a frontend to a backend instead. Returns DROP_NONE also when it goes to no frontend;
 * packet->frontend tells. DROP_HAIRPIN: the pod is its own backend, and its kernel refuses packets from its own address.
 */
OUT_OF_LINE int to_backend(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_service_key key BY_WORDS;
	const struct lb_service *service;
	const struct lb_socket *backend;
	union addr frontend;
	int reason;

	frontend_key(packet, &key);
	service = frontend_at(&key, &packet->flow.destination);
	if (!service)
		return DROP_NONE;
	__builtin_memcpy(&frontend, key.addr, ADDR_BYTES);
	if (is_unspecified(&frontend) && !remember_asked(packet, service->id))
		return DROP_CT_INSERT_FAILED;
	backend = backend_for(packet, &key, service);
	if (!backend)
		return DROP_NO_SERVICE;
	reason = readdress(skb, packet, backend, service->id);
	if (reason != DROP_NONE)
		return reason;
	return same_address(&packet->flow.source, &packet->flow.destination) ? DROP_HAIRPIN : DROP_NONE;
}

/*
 * Writes one end of what an ICMP error quotes anew: address, port and checksums. The sum of an IPv4 header with its checksum
 * is the same whatever its address; the quoted transport checksum nobody looks at.
 */
OUT_OF_LINE int rewrite_quote(struct __sk_buff *skb, const struct packet *packet NONNULL,
			      const struct lb_socket *to NONNULL, __u8 end)
{
	const struct flow *inner = &packet->inner;
	__be16 from_port = end == END_SOURCE ? inner->source_port : inner->destination_port, port = to->port;
	__u32 checksum = packet->payload + ICMP_CHECKSUM_OFFSET;
	__u32 quote = packet->payload + sizeof(struct icmp_header);
	__u32 transport = quote + sizeof(struct ipv6hdr);
	union addr from, address;
	__u8 first;

	__builtin_memcpy(&from, end == END_SOURCE ? &inner->source : &inner->destination, ADDR_BYTES);
	__builtin_memcpy(&address, to->addr, ADDR_BYTES);
	if (packet->family == FAMILY_IPV4) {
		if (!load(skb, quote, &first, sizeof(first)))
			return DROP_CT_INVALID_HEADER;
		transport = quote + (first & 0xf) * 4;
		if (bpf_l3_csum_replace(skb, quote + IPV4_CHECKSUM_OFFSET, from.v4, address.v4, sizeof(ipv4)))
			return DROP_CSUM_L3;
	} else if (bpf_l4_csum_replace(skb, checksum, 0, checksum_change(&from, &address), 0)) {
		return DROP_CSUM_L4;
	}
	if (bpf_l4_csum_replace(skb, checksum, from_port, port, sizeof(port)))
		return DROP_CSUM_L4;
	if (bpf_skb_store_bytes(skb, quote + address_offset(packet->family, end), &address, address_bytes(packet->family),
				0) ||
	    bpf_skb_store_bytes(skb, transport + port_offset(packet->family, inner->protocol, end), &port, sizeof(port), 0))
		return DROP_WRITE_ERROR;
	return DROP_NONE;
}

/*
 * What a client knows a service by. False when that is not known any more: the service is gone, or it is long ago that the
 * client asked a node for it.
 */
ALWAYS_INLINE bool frontend_of(__u16 service, __u8 family, const union addr *client, __be16 client_port,
			       struct lb_socket *frontend)
{
	struct lb_flow_key key BY_WORDS = { .client_port = client_port, .service = service };
	__u32 id = service;
	const struct lb_socket *entry = bpf_map_lookup_elem(&weir_lb_revnat, &id);
	const struct lb_asked *asked;
	union addr address;

	if (!entry || entry->family != family)
		return false;
	*frontend = *entry;
	__builtin_memcpy(&address, frontend->addr, ADDR_BYTES);
	if (!is_unspecified(&address))
		return true;
	__builtin_memcpy(key.client, client, ADDR_BYTES);
	asked = bpf_map_lookup_elem(&weir_lb_asked, &key);
	if (!asked)
		return false;
	__builtin_memcpy(frontend->addr, asked->addr, ADDR_BYTES);
	return true;
}

/* The same for the client of an answer, or of what an error quotes. */
ALWAYS_INLINE bool known_frontend(const struct packet *packet, struct lb_socket *frontend)
{
	bool error = packet->shape & PACKET_ICMP_ERROR;

	return frontend_of(packet->rev_nat, packet->family, error ? &packet->inner.source : &packet->flow.destination,
			   error ? packet->inner.source_port : packet->flow.destination_port, frontend);
}

/* Lets what a backend answers come from the frontend that its client spoke to. */
OUT_OF_LINE int from_frontend(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	struct lb_socket frontend BY_WORDS;
	int reason;

	if (!known_frontend(packet, &frontend))
		return DROP_NO_SERVICE;
	if (packet->shape & PACKET_ICMP_ERROR)
		return rewrite_quote(skb, packet, &frontend, END_DESTINATION);
	reason = rewrite_end(skb, packet, &frontend, END_SOURCE);
	if (reason != DROP_NONE)
		return reason;
	__builtin_memcpy(&packet->flow.source, frontend.addr, ADDR_BYTES);
	packet->flow.source_port = frontend.port;
	return DROP_NONE;
}
