export interface BPFMapList {
  readonly maps?: readonly BPFMap[];
}

/** Answer of `GET /v1/map/{name}`. */
export interface BPFMap {
  /** Path below the BPF root, or the map's name. */
  readonly path?: string;
  readonly cache?: readonly BPFMapEntry[];
}

export interface BPFMapEntry {
  readonly key?: string;
  readonly value?: string;
  readonly 'desired-action'?: 'ok' | 'insert' | 'delete';
  readonly 'last-error'?: string;
  /** Weir: the entry's fields, for programs. Map dumps of conntrack, ipcache and policy carry them. */
  readonly fields?: Readonly<Record<string, string | number | boolean>>;
}

export interface BPFMapProperties {
  readonly name?: string;
  readonly size?: number;
}
