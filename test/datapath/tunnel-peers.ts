/** Other nodes, whose packets reach a program as the tunnel's device hands them over: with a tunnel key. */
import { BpfMap } from '../../agent/kernel/bpf-map.ts';
import { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { compileBpf } from '../../agent/kernel/testbed.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { encode, u32 } from '../../bpf/gen/structs.ts';
import { runProgram, type Ran } from './node.ts';

/** Gives a packet the tunnel key that skb->cb says, and passes it on. */
const TUNNELLED = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");
__attribute__((section(".rodata.config"))) const volatile unsigned char ipv6;
SEC("tc") int tunnelled(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = { .tunnel_id = skb->cb[4], .tunnel_ttl = 64 };

	if (ipv6) {
		key.local_ipv6[0] = skb->cb[0];
		key.local_ipv6[1] = skb->cb[1];
		key.local_ipv6[2] = skb->cb[2];
		key.local_ipv6[3] = skb->cb[3];
	} else {
		key.local_ipv4 = __builtin_bswap32(skb->cb[0]);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), ipv6 ? BPF_F_TUNINFO_IPV6 : 0))
		return 77;
	skb->cb[0] = 0;
	bpf_tail_call(skb, &next, 0);
	return 78;
}
char LICENSE[] SEC("license") = "GPL";
`;

let compiled: Buffer | undefined;

export class TunnelPeers implements Disposable {
  readonly #object: BpfObject;

  /** @param program what runs at the tunnel's device @param outer family of the packets outside */
  constructor(program: number, outer: 'ipv4' | 'ipv6') {
    compiled ??= compileBpf(TUNNELLED);
    this.#object = BpfObject.load({
      name: 'tunnelled',
      elf: compiled,
      data: { '.rodata.config': (bytes) => void bytes.writeUInt8(outer === 'ipv6' ? 1 : 0) },
    });
    new BpfMap(this.#object.mapFd('next')).update(encode(u32, 0), encode(u32, program));
  }

  /** Runs what the node at `from` sent with the network identifier `vni`. */
  send(frame: Buffer, vni: number, from: string): Ran {
    const control = Buffer.alloc(20);
    control.set(parseAddress(from).bytes);
    control.writeUInt32LE(vni, 16);
    return runProgram(this.#object.program('tunnelled').fd, frame, { control });
  }

  [Symbol.dispose](): void {
    this.#object.close();
  }
}
