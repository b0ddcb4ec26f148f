/** Builds `dist/weir-cni`, one executable file. */
export function buildCni(_root: string): Promise<boolean> {
  return Promise.resolve(false);
}
