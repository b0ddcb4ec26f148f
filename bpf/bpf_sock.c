/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services where connections begin: a socket that asks for a frontend gets a backend, before there is any packet. Attached to
 * a cgroup v2 with all sockets of the node below it, those of pods and those of its own.
 *
 *   connect*      TCP, and UDP that is connected
 *   sendmsg*      UDP that is not: an address with every datagram
 *   recvmsg*      a backend's answer comes from the frontend that the socket sent to
 *   getpeername*  whom the socket believes to speak to
 *
 * Other protocols, and packets that no socket of this cgroup sent, are translated packet by packet (lib/service.h).
 */
#include <linux/errno.h>

#include "lib/backend.h"
#include "lib/config_sock.h"
#include "lib/frontend.h"
#include "lib/maps.h"
#include "lib/packet.h"

#define SOCK_GO_ON  1
#define SOCK_REFUSE 0

#define IPPROTO_MPTCP_NUMBER 262

/* For how long after its last datagram an unconnected socket keeps its backend, as conntrack would. */
#define DATAGRAM_SECONDS other_seconds

/* The other end that a call names. */
struct peer {
	union addr address;
	__be16     port;
	__u8       family;
	__u8       protocol;
	bool       mapped; /* an IPv4 address on an IPv6 socket */
};

/* Whether the other end may be a service's; ports of other protocols are none. */
ALWAYS_INLINE bool read_protocol(struct bpf_sock_addr *ctx, struct peer *peer)
{
	__u32 protocol = ctx->protocol;

	if (protocol == IPPROTO_MPTCP_NUMBER)
		protocol = IPPROTO_TCP;
	peer->protocol = protocol;
	peer->port = ctx->user_port;
	return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && peer->port;
}

ALWAYS_INLINE bool read_peer4(struct bpf_sock_addr *ctx, struct peer *peer)
{
	__builtin_memset(peer, 0, sizeof(*peer));
	peer->family = FAMILY_IPV4;
	peer->address.v4 = ctx->user_ip4;
	return read_protocol(ctx, peer);
}

ALWAYS_INLINE bool read_peer6(struct bpf_sock_addr *ctx, struct peer *peer)
{
	__u32 a = ctx->user_ip6[0], b = ctx->user_ip6[1], c = ctx->user_ip6[2], d = ctx->user_ip6[3];

	__builtin_memset(peer, 0, sizeof(*peer));
	peer->mapped = !a && !b && c == bpf_htonl(0xffff);
	peer->family = peer->mapped ? FAMILY_IPV4 : FAMILY_IPV6;
	peer->address.words[0] = peer->mapped ? d : a;
	if (!peer->mapped) {
		peer->address.words[1] = b;
		peer->address.words[2] = c;
		peer->address.words[3] = d;
	}
	return read_protocol(ctx, peer);
}

ALWAYS_INLINE void write_peer4(struct bpf_sock_addr *ctx, const struct lb_socket *to)
{
	union addr address;

	__builtin_memcpy(&address, to->addr, ADDR_BYTES);
	ctx->user_ip4 = address.v4;
	ctx->user_port = to->port;
}

ALWAYS_INLINE void write_peer6(struct bpf_sock_addr *ctx, const struct peer *peer, const struct lb_socket *to)
{
	union addr address;

	__builtin_memcpy(&address, to->addr, ADDR_BYTES);
	if (peer->mapped) {
		ctx->user_ip6[3] = address.v4;
	} else {
		ctx->user_ip6[0] = address.words[0];
		ctx->user_ip6[1] = address.words[1];
		ctx->user_ip6[2] = address.words[2];
		ctx->user_ip6[3] = address.words[3];
	}
	ctx->user_port = to->port;
}

ALWAYS_INLINE bool is_node_socket(struct bpf_sock_addr *ctx)
{
	return host_netns_cookie && bpf_get_netns_cookie(ctx) == host_netns_cookie;
}

/* 127.0.0.0/8, ::1, and what connects there: the unspecified address. */
ALWAYS_INLINE bool is_loopback(const struct peer *peer)
{
	if (peer->family == FAMILY_IPV4)
		return peer->address.bytes[0] == 127 || !peer->address.v4;
	return !peer->address.halves[0] && !peer->address.words[2] &&
	       (!peer->address.words[3] || peer->address.words[3] == bpf_htonl(1));
}

ALWAYS_INLINE void set_loopback(const struct peer *peer, union addr *address)
{
	__builtin_memset(address, 0, sizeof(*address));
	if (peer->family == FAMILY_IPV4)
		address->v4 = bpf_htonl(0x7f000001);
	else
		address->words[3] = bpf_htonl(1);
}

/* Remembers what the socket believes to speak to, unless that is what is remembered. */
ALWAYS_INLINE void remember_peer(__u64 cookie, const struct lb_socket *backend, const struct peer *peer)
{
	struct lb_sock_key key BY_WORDS = {
		.cookie = cookie,
		.port = backend->port,
		.protocol = peer->protocol,
		.family = peer->family,
	};
	struct lb_socket frontend BY_WORDS = { .port = peer->port, .protocol = peer->protocol, .family = peer->family };
	const struct lb_socket *known;
	union addr address;

	__builtin_memcpy(key.addr, backend->addr, ADDR_BYTES);
	__builtin_memcpy(frontend.addr, &peer->address, ADDR_BYTES);
	known = bpf_map_lookup_elem(&weir_lb_sock_peers, &key);
	if (known) {
		__builtin_memcpy(&address, known->addr, ADDR_BYTES);
		if (known->port == frontend.port && same_address(&address, &peer->address))
			return;
	}
	bpf_map_update_elem(&weir_lb_sock_peers, &key, &frontend, BPF_ANY);
}

/* The backend that an unconnected socket sends to, as long as it goes on sending and the backend is there. */
ALWAYS_INLINE const struct lb_socket *kept_datagram_backend(const struct lb_sock_flow_key *key)
{
	struct lb_last *last = bpf_map_lookup_elem(&weir_lb_sock_flows, key);
	const struct lb_socket *backend;

	if (!last || !lb_is_recent(last, DATAGRAM_SECONDS))
		return NULL;
	backend = lb_backend(last->backend);
	if (!backend || backend->state != LB_ACTIVE)
		return NULL;
	last->used = bpf_ktime_get_coarse_ns();
	return backend;
}

enum translation { NO_SERVICE, TRANSLATED, NO_BACKEND };

/* Finds the backend for a socket that asks for `peer`, and remembers the way back. */
ALWAYS_INLINE enum translation translate(struct bpf_sock_addr *ctx, const struct peer *peer, bool each_datagram,
					 const struct lb_socket **to)
{
	struct lb_service_key key BY_WORDS = {
		.port = peer->port,
		.protocol = peer->protocol,
		.family = peer->family,
		.scope = LB_SCOPE_INTERNAL,
	};
	struct lb_client client BY_WORDS = { .kind = LB_CLIENT_NETNS };
	struct lb_sock_flow_key flow = {};
	const struct lb_socket *backend = NULL;
	const struct lb_service *service;
	union addr address = peer->address;
	__u64 cookie;

	if (is_loopback(peer)) {
		/* A pod's loopback is its own. */
		if (!is_node_socket(ctx))
			return NO_SERVICE;
		set_loopback(peer, &address);
	}
	service = frontend_at(&key, &address);
	if (!service)
		return NO_SERVICE;
	cookie = bpf_get_socket_cookie(ctx);
	if (each_datagram) {
		flow.cookie = cookie;
		flow.service = service->id;
		backend = kept_datagram_backend(&flow);
	}
	if (!backend) {
		struct lb_last last = { .used = bpf_ktime_get_coarse_ns() };

		client.id.halves[0] = bpf_get_netns_cookie(ctx);
		last.backend = lb_choose(&key, service, &client, 0);
		backend = lb_backend(last.backend);
		if (!backend || backend->family != peer->family)
			return NO_BACKEND;
		if (each_datagram)
			bpf_map_update_elem(&weir_lb_sock_flows, &flow, &last, BPF_ANY);
	}
	remember_peer(cookie, backend, peer);
	*to = backend;
	return TRANSLATED;
}

ALWAYS_INLINE int refuse(void)
{
	bpf_set_retval(-EHOSTUNREACH);
	return SOCK_REFUSE;
}

ALWAYS_INLINE int forward4(struct bpf_sock_addr *ctx, bool each_datagram)
{
	const struct lb_socket *to = NULL;
	enum translation done;
	struct peer peer;

	if (!read_peer4(ctx, &peer))
		return SOCK_GO_ON;
	done = translate(ctx, &peer, each_datagram, &to);
	if (done == NO_BACKEND)
		return refuse();
	if (done == TRANSLATED && to)
		write_peer4(ctx, to);
	return SOCK_GO_ON;
}

ALWAYS_INLINE int forward6(struct bpf_sock_addr *ctx, bool each_datagram)
{
	const struct lb_socket *to = NULL;
	enum translation done;
	struct peer peer;

	if (!read_peer6(ctx, &peer))
		return SOCK_GO_ON;
	done = translate(ctx, &peer, each_datagram, &to);
	if (done == NO_BACKEND)
		return refuse();
	if (done == TRANSLATED && to)
		write_peer6(ctx, &peer, to);
	return SOCK_GO_ON;
}

ALWAYS_INLINE const struct lb_socket *believed_peer(struct bpf_sock_addr *ctx, const struct peer *peer)
{
	struct lb_sock_key key BY_WORDS = {
		.cookie = bpf_get_socket_cookie(ctx),
		.port = peer->port,
		.protocol = peer->protocol,
		.family = peer->family,
	};

	__builtin_memcpy(key.addr, &peer->address, ADDR_BYTES);
	return bpf_map_lookup_elem(&weir_lb_sock_peers, &key);
}

ALWAYS_INLINE int reverse4(struct bpf_sock_addr *ctx)
{
	const struct lb_socket *frontend;
	struct peer peer;

	if (!read_peer4(ctx, &peer))
		return SOCK_GO_ON;
	frontend = believed_peer(ctx, &peer);
	if (frontend)
		write_peer4(ctx, frontend);
	return SOCK_GO_ON;
}

ALWAYS_INLINE int reverse6(struct bpf_sock_addr *ctx)
{
	const struct lb_socket *frontend;
	struct peer peer;

	if (!read_peer6(ctx, &peer))
		return SOCK_GO_ON;
	frontend = believed_peer(ctx, &peer);
	if (frontend)
		write_peer6(ctx, &peer, frontend);
	return SOCK_GO_ON;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return forward4(ctx, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return forward6(ctx, false);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return forward4(ctx, true);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return forward6(ctx, true);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return reverse4(ctx);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return reverse6(ctx);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return reverse4(ctx);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return reverse6(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
