/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#include <linux/pkt_cls.h>
#include "lib/config_endpoint.h"
#include "lib/drop_reasons.h"
#include "lib/maps.h"

SEC("tc")
int from_container(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("tc")
int to_container(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("tc")
int policy_ingress(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
