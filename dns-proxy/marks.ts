/** Marks of the proxy's sockets (bpf/lib/mark.h). */
import { MARK_PROXY, MARK_PROXY_EGRESS } from '../bpf/gen/constants.ts';

/** Of listeners, and of answers to pods. */
export const LISTENER_MARK = MARK_PROXY;

/** Of what is sent to servers for an endpoint of this identity: at most 24 bits. */
export function egressMark(identity: number): number {
  return ((identity & 0xffff) << 16) | MARK_PROXY_EGRESS | ((identity >>> 16) & 0xff);
}
