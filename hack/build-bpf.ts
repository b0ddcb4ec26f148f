/** Compiles the programs in `bpf/` and generates `bpf/gen` from their BTF. */
export function buildBpf(_root: string): Promise<boolean> {
  return Promise.resolve(false);
}
