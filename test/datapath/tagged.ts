/** Frames of a VLAN as the kernel hands them to programs: with the tag beside the packet. */
import { BpfMap } from '../../agent/kernel/bpf-map.ts';
import { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { compileBpf } from '../../agent/kernel/testbed.ts';
import { encode, u32 } from '../../bpf/gen/structs.ts';
import { runProgram, type Ran, type RunContext } from './node.ts';

/** Gives a packet the tag that skb->cb says, and passes it on. */
const TAGGED = `
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");
SEC("tc") int tagged(struct __sk_buff *skb)
{
	if (bpf_skb_vlan_push(skb, bpf_htons(0x8100), skb->cb[0]))
		return 77;
	skb->cb[0] = 0;
	bpf_tail_call(skb, &next, 0);
	return 78;
}
char LICENSE[] SEC("license") = "GPL";
`;

/** Runs a frame with a tag (IEEE 802.1Q: priority and VLAN) through the program of `fd`. */
export function runTagged(fd: number, frame: Buffer, tag: number, run: RunContext = {}): Ran {
  using object = BpfObject.load({ name: 'tagged', elf: compileBpf(TAGGED) });
  new BpfMap(object.mapFd('next')).update(encode(u32, 0), encode(u32, fd));
  return runProgram(object.program('tagged').fd, frame, { ...run, sourceIdentity: tag });
}
