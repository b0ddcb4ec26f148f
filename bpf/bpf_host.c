/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#include <linux/pkt_cls.h>
#include "lib/config_host.h"
#include "lib/drop_reasons.h"
#include "lib/maps.h"

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
