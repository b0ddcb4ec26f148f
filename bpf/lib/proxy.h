/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What policy redirects goes to a proxy's socket on this node, as it is: the proxy sees client and server as the pod does,
 * and answers from the server's address.
 *
 * Proxies listen on the loopback address, where nobody else can send them anything, and their sockets bear MARK_PROXY:
 * another process that happens to have the port cannot set that, and gets nothing.
 */
#pragma once

#include "mark.h"
#include "packet.h"
#include "sockets.h"

#define TCP_TIME_WAIT_STATE 6
#define TCP_LISTEN_STATE    10

ALWAYS_INLINE __u32 fill_loopback(struct bpf_sock_tuple *tuple, __u8 family, __be16 port)
{
	if (family == FAMILY_IPV4) {
		tuple->ipv4.daddr = bpf_htonl(0x7f000001);
		tuple->ipv4.dport = port;
		return sizeof(tuple->ipv4);
	}
	tuple->ipv6.daddr[3] = bpf_htonl(1);
	tuple->ipv6.dport = port;
	return sizeof(tuple->ipv6);
}

/* Gives the packet to the listener on `port`. */
ALWAYS_INLINE int assign_listener(struct __sk_buff *skb, const struct packet *packet, __be16 port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_loopback(&tuple, packet->family, port);
	bool tcp = packet->flow.protocol == IPPROTO_TCP;
	struct bpf_sock *sk;
	long failed = -1;

	if (tcp)
		sk = bpf_sk_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return DROP_NO_PROXY;
	if (sk->mark == MARK_PROXY && (!tcp || sk->state == TCP_LISTEN_STATE))
		failed = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return failed ? DROP_NO_PROXY : DROP_NONE;
}

/* Gives the packet to the connection that it belongs to. *found tells whether there is one. */
ALWAYS_INLINE int assign_connection(struct __sk_buff *skb, const struct packet *packet, bool *found)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_tuple(&tuple, packet->family, &packet->flow);
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	struct bpf_sock *full;
	long failed = -1;

	if (!sk)
		return DROP_NONE;
	if (sk->state == TCP_LISTEN_STATE || sk->state == TCP_TIME_WAIT_STATE) {
		bpf_sk_release(sk);
		return DROP_NONE;
	}
	*found = true;
	/* A request has no mark yet; the connection that it becomes has its listener's. */
	full = bpf_sk_fullsock(sk);
	if (!full || full->mark == MARK_PROXY)
		failed = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return failed ? DROP_NO_PROXY : DROP_NONE;
}

/*
 * Sends the packet to the proxy on packet->proxy_port by way of the host's stack, which takes it in because of its mark.
 * Without such a proxy nothing passes.
 */
OUT_OF_LINE int to_proxy(struct __sk_buff *skb, struct packet *packet NONNULL)
{
	bool found = false;
	int reason = DROP_NONE;

	if (packet->flow.protocol != IPPROTO_TCP && packet->flow.protocol != IPPROTO_UDP)
		return DROP_NO_PROXY;
	/* The stack forgets the socket when it puts fragments together, and would hand the whole to whoever has its port. */
	if (packet->shape & PACKET_FRAGMENT)
		return DROP_FRAGMENT;
	if (packet->flow.protocol == IPPROTO_TCP)
		reason = assign_connection(skb, packet, &found);
	if (!found && reason == DROP_NONE)
		reason = assign_listener(skb, packet, packet->proxy_port);
	if (reason == DROP_NONE)
		skb->mark = MARK_TO_PROXY;
	return reason;
}
