/**
 * Programs at a device's ingress and egress as tc filters, as rtnetlink messages: linux/pkt_sched.h, linux/pkt_cls.h. Other
 * than a TCX link (tcx.ts), a filter costs the kernel no wait, and anybody may take it away.
 */
import { parseAttributes } from 'netlink/dist/structs.js';
import type { IfIndex } from '../model/endpoint.ts';
import { readCString } from './memory.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { attribute, messageBody, nested, RTM } from './rtnl-message.ts';
import type { TcxHook } from './tcx.ts';

/** A program that a filter runs. */
export interface BpfFilter {
  readonly name: string;
  /** The kernel's number of the program. */
  readonly programId: number;
}

const TC_H_CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
/** Below TC_H_CLSACT: TC_H_MIN_INGRESS, TC_H_MIN_EGRESS. */
const PARENTS: Readonly<Record<TcxHook, number>> = { ingress: 0xfffffff2, egress: 0xfffffff3 };
const TCA = { KIND: 1, OPTIONS: 2 } as const;
const TCA_BPF = { FD: 6, NAME: 7, FLAGS: 8, ID: 11 } as const;
/** The program itself says what becomes of the packet. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
/** The only filter of its hook: priority 1, number 1, for every protocol (ETH_P_ALL, network order). */
const PRIORITY = 1;
const HANDLE = 1;
const INFO = (PRIORITY << 16) | 0x0300;

const TC_HEADER = 20;

/** struct tcmsg */
function tcHeader(index: IfIndex, handle: number, parent: number, info = 0): Uint8Array {
  const bytes = Buffer.alloc(TC_HEADER);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(handle, 8);
  bytes.writeUInt32LE(parent, 12);
  bytes.writeUInt32LE(info, 16);
  return bytes;
}

/** Makes room for filters at a device's ingress and egress; EEXIST when there is. */
export function addClsact(index: IfIndex): NetlinkRequest {
  const body = messageBody(tcHeader(index, CLSACT_HANDLE, TC_H_CLSACT), attribute(TCA.KIND, 'clsact'));
  const flags = NLM_F.CREATE | NLM_F.EXCL;
  return { type: RTM.NEWQDISC, flags, body, operation: `add clsact to link ${index}` };
}

/** Takes that room away, with all filters in it. */
export function deleteClsact(index: IfIndex): NetlinkRequest {
  const body = messageBody(tcHeader(index, CLSACT_HANDLE, TC_H_CLSACT));
  return { type: RTM.DELQDISC, flags: 0, body, operation: `delete clsact of link ${index}` };
}

export interface BpfFilterSpec {
  readonly index: IfIndex;
  readonly hook: TcxHook;
  readonly programFd: number;
  /** For listings. */
  readonly name: string;
}

/** Adds a filter that runs a program of type SCHED_CLS; EEXIST when there is one. Needs {@link addClsact}. */
export function addBpfFilter({ index, hook, programFd, name }: BpfFilterSpec): NetlinkRequest {
  const body = messageBody(
    tcHeader(index, HANDLE, PARENTS[hook], INFO),
    attribute(TCA.KIND, 'bpf'),
    nested(
      TCA.OPTIONS,
      attribute(TCA_BPF.FD, programFd),
      attribute(TCA_BPF.NAME, name),
      attribute(TCA_BPF.FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
    ),
  );
  const operation = `add filter ${name} to ${hook} of link ${index}`;
  return { type: RTM.NEWTFILTER, flags: NLM_F.CREATE | NLM_F.EXCL, body, operation };
}

/** Asks for the filter that {@link addBpfFilter} adds; ENOENT or EINVAL when there is none. */
export function getBpfFilter(index: IfIndex, hook: TcxHook): NetlinkRequest {
  const body = messageBody(tcHeader(index, HANDLE, PARENTS[hook], INFO), attribute(TCA.KIND, 'bpf'));
  return { type: RTM.GETTFILTER, flags: 0, body, operation: `read filter at ${hook} of link ${index}` };
}

/** Reads an RTM_NEWTFILTER body. */
export function parseBpfFilterMessage(body: Buffer): BpfFilter {
  const found = { name: '', programId: 0 };
  parseAttributes(body.subarray(TC_HEADER), ({ type, data }) => {
    if (type !== TCA.OPTIONS) return;
    parseAttributes(data, (option) => {
      if (option.type === TCA_BPF.NAME) found.name = readCString(option.data);
      else if (option.type === TCA_BPF.ID) found.programId = option.data.readUInt32LE();
    });
  });
  return found;
}
