import { BPF, bpf, bpfAttr } from './bpf-syscall.ts';
import { ERRNO, isErrno } from './errno.ts';
import { keep, memory } from './memory.ts';

/** One packet or many through a program, without a device. */
export interface TestRun {
  /** Ethernet frame for TC and XDP programs. */
  readonly data: Uint8Array;
  /** `struct __sk_buff` and the like; absent means all zero. */
  readonly context?: Uint8Array;
  /** How often to run it; 1 when absent. More often than that when a signal breaks it off: a single run cannot be. */
  readonly repeat?: number;
}

export interface TestRunResult {
  readonly returnValue: number;
  /** Mean nanoseconds of one run. */
  readonly durationNs: number;
  /** The frame as the program left it. */
  readonly data: Buffer;
  readonly context: Buffer;
}

/** Room for a frame that the program made longer. */
const TEST_RUN_GROWTH = 512;

/** BPF_PROG_TEST_RUN; a run that a signal broke off is begun again. @throws KernelError SYSCALL_FAILED; EINVAL for a frame shorter than an Ethernet header */
export function programTestRun(programFd: number, { data, context, repeat = 1 }: TestRun): TestRunResult {
  const input = memory(data.length);
  input.bytes.set(data);
  const output = memory(data.length + TEST_RUN_GROWTH);
  const ctxIn = memory(Math.max(context?.length ?? 0, 1));
  if (context !== undefined) ctxIn.bytes.set(context);
  const ctxOut = memory(ctxIn.bytes.length);
  const b = bpfAttr();
  b.writeUInt32LE(programFd, 0);
  b.writeUInt32LE(data.length, 8);
  b.writeUInt32LE(output.bytes.length, 12);
  b.writeBigUInt64LE(input.address, 16);
  b.writeBigUInt64LE(output.address, 24);
  b.writeUInt32LE(repeat, 32);
  if (context !== undefined) {
    b.writeUInt32LE(context.length, 40);
    b.writeUInt32LE(context.length, 44);
    b.writeBigUInt64LE(ctxIn.address, 48);
    b.writeBigUInt64LE(ctxOut.address, 56);
  }
  for (;;) {
    try {
      bpf(BPF.PROG_TEST_RUN, 80, 'test-run a BPF program');
      break;
    } catch (error) {
      if (!isErrno(error, ERRNO.EINTR)) throw error;
    } finally {
      keep(input, output, ctxIn, ctxOut);
    }
  }
  return {
    returnValue: b.readUInt32LE(4),
    durationNs: b.readUInt32LE(36),
    data: output.bytes.subarray(0, b.readUInt32LE(12)),
    context: context === undefined ? Buffer.alloc(0) : ctxOut.bytes.subarray(0, b.readUInt32LE(44)),
  };
}
